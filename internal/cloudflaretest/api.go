package cloudflaretest

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// serve answers as api.cloudflare.com does.
func (s *Server) serve(w http.ResponseWriter, req *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, req.Method+" "+req.URL.RequestURI())
	if s.fail != nil {
		if f := s.fail(req); f != nil {
			w.Header().Set("Content-Type", "application/json")
			for k, v := range f.Header {
				w.Header().Set(k, v)
			}
			w.WriteHeader(f.Status)
			io.WriteString(w, f.Body)
			return
		}
	}
	path, ok := strings.CutPrefix(req.URL.Path, "/client/v4/zones")
	if !ok {
		refuse(w, 404, 7003, "Could not route to "+req.URL.Path)
		return
	}
	token := strings.TrimPrefix(req.Header.Get("Authorization"), "Bearer ")
	if token != s.Token && token != s.ZoneToken {
		refuse(w, 403, 9109, "Invalid access token")
		return
	}
	if path == "" && req.Method == http.MethodGet {
		s.listZones(w, req)
		return
	}
	parts := strings.Split(strings.TrimPrefix(path, "/"), "/")
	if len(parts) < 2 || parts[1] != "dns_records" || len(parts) > 3 {
		refuse(w, 404, 7003, "Could not route to "+req.URL.Path)
		return
	}
	i := slices.IndexFunc(s.zones, func(z zone) bool { return z.id == parts[0] })
	switch {
	case i < 0:
		refuse(w, 404, 7003, "Could not route to "+req.URL.Path+", perhaps your object identifier is invalid?")
	case token != s.Token:
		refuse(w, 403, 10000, "Authentication error")
	case req.Method == http.MethodGet && len(parts) == 2:
		s.listRecords(w, req, s.zones[i])
	case s.zones[i].readOnly:
		refuse(w, 403, 10000, "Authentication error")
	case req.Method == http.MethodPost && len(parts) == 2:
		s.createRecord(w, req, s.zones[i])
	case len(parts) == 3:
		s.changeRecord(w, req, s.zones[i], parts[2])
	default:
		refuse(w, 405, 10405, "Method not allowed")
	}
}

func (s *Server) listZones(w http.ResponseWriter, req *http.Request) {
	name := plain(req.URL.Query().Get("name"))
	found := []map[string]any{}
	for _, z := range s.zones {
		if name == "" || z.name == name {
			found = append(found, map[string]any{"id": z.id, "name": z.name, "status": "active", "name_servers": []string{"ns1." + z.name}})
		}
	}
	page(w, req, found, 50)
}

func (s *Server) listRecords(w http.ResponseWriter, req *http.Request, z zone) {
	q := req.URL.Query()
	found := []Record{}
	for _, r := range s.records {
		name, exact, contains := q.Get("name"), q.Get("content.exact"), q.Get("content.contains")
		if r.ZoneID != z.id ||
			q.Get("type") != "" && r.Type != q.Get("type") ||
			name != "" && r.Name != plain(name) ||
			exact != "" && r.Content != exact ||
			contains != "" && !strings.Contains(strings.ToLower(r.Content), strings.ToLower(contains)) {
			continue
		}
		found = append(found, r)
	}
	page(w, req, found, 100)
}

func (s *Server) createRecord(w http.ResponseWriter, req *http.Request, z zone) {
	var r Record
	if !decode(w, req, &r) {
		return
	}
	r.Name = z.absolute(r.Name)
	if !s.acceptable(w, r, "") {
		return
	}
	success(w, s.insert(z, r), nil)
}

func (s *Server) changeRecord(w http.ResponseWriter, req *http.Request, z zone, id string) {
	i := slices.IndexFunc(s.records, func(r Record) bool { return r.ID == id && r.ZoneID == z.id })
	if i < 0 {
		refuse(w, 404, 81044, "Record does not exist.")
		return
	}
	switch req.Method {
	case http.MethodDelete:
		s.records = slices.Delete(s.records, i, i+1)
		success(w, map[string]string{"id": id}, nil)
	case http.MethodPatch:
		var change Record
		if !decode(w, req, &change) {
			return
		}
		r := s.records[i]
		if change.Name != "" {
			r.Name = z.absolute(change.Name)
		}
		if change.Content != "" {
			r.Content = change.Content
		}
		if change.TTL != 0 {
			r.TTL = change.TTL
		}
		if !s.acceptable(w, r, id) {
			return
		}
		s.records[i] = r
		success(w, r, nil)
	default:
		refuse(w, 405, 10405, "Method not allowed")
	}
}

// acceptable applies the rules that Cloudflare has for records.
func (s *Server) acceptable(w http.ResponseWriter, r Record, id string) bool {
	if r.TTL != 1 && (r.TTL < 60 || r.TTL > 86400) {
		refuse(w, 400, 9021, "Invalid TTL. Must be between 60 and 86400 seconds, or 1 for Automatic.")
		return false
	}
	for _, other := range s.records {
		if other.ID == id || other.Name != r.Name || other.ZoneID != r.ZoneID && r.ZoneID != "" {
			continue
		}
		if (other.Type == "CNAME") != (r.Type == "CNAME") {
			refuse(w, 400, 81054, "A CNAME record with that host already exists.")
			return false
		}
		if other.Type == r.Type && other.Content == r.Content {
			refuse(w, 400, 81058, "An identical record already exists.")
			return false
		}
	}
	return true
}

// absolute completes a name that is given relative to the zone.
func (z zone) absolute(name string) string {
	name = plain(name)
	switch {
	case name == "" || name == "@":
		return z.name
	case name == z.name || strings.HasSuffix(name, "."+z.name):
		return name
	}
	return name + "." + z.name
}

func decode(w http.ResponseWriter, req *http.Request, r *Record) bool {
	if err := json.NewDecoder(req.Body).Decode(r); err != nil {
		refuse(w, 400, 9207, "Request body is invalid.")
		return false
	}
	return true
}

// page cuts one page out of a list.
func page[T any](w http.ResponseWriter, req *http.Request, all []T, most int) {
	perPage, number := most, 1
	if n, err := strconv.Atoi(req.URL.Query().Get("per_page")); err == nil && n > 0 && n <= 5000 {
		perPage = n
	}
	if n, err := strconv.Atoi(req.URL.Query().Get("page")); err == nil && n > 0 {
		number = n
	}
	from := min((number-1)*perPage, len(all))
	to := min(from+perPage, len(all))
	success(w, all[from:to], map[string]int{
		"page": number, "per_page": perPage, "count": to - from,
		"total_count": len(all), "total_pages": (len(all) + perPage - 1) / perPage,
	})
}

func success(w http.ResponseWriter, result any, info map[string]int) {
	answer := map[string]any{"success": true, "errors": []any{}, "messages": []any{}, "result": result}
	if info != nil {
		answer["result_info"] = info
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(answer)
}

func refuse(w http.ResponseWriter, status, code int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]any{
		"success": false, "errors": []map[string]any{{"code": code, "message": message}}, "messages": []any{}, "result": nil,
	})
}
