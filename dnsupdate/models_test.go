package dnsupdate_test

import (
	"crypto/sha1"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/stshost/stshost/dnsupdate"
)

// The parts of the providers' APIs that are used, as they document them.

func models() map[string]func() *model {
	return map[string]func() *model{
		"desec": desecModel, "hetzner": hetznerModel, "ionos": ionosModel,
		"netcup": netcupModel, "ovh": ovhModel, "route53": route53Model,
	}
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}

func body[T any](req *http.Request) (v T) {
	json.NewDecoder(req.Body).Decode(&v)
	return v
}

type object = map[string]any

// desecModel: https://desec.readthedocs.io/en/latest/dns/rrsets.html
func desecModel() *model {
	const token = "desec-token-4711"
	type rrset struct {
		Subname string   `json:"subname"`
		Type    string   `json:"type"`
		TTL     int      `json:"ttl"`
		Records []string `json:"records"`
	}
	return &model{
		account: dnsupdate.Account{Provider: "desec", Settings: map[string]string{"api_token": token}}, secrets: []string{token},
		api: func(m *model, w http.ResponseWriter, req *http.Request) {
			switch {
			case req.Header.Get("Authorization") != "Token "+token:
				reply(w, 401, object{"detail": "Invalid token."})
			case !strings.HasPrefix(req.Header.Get("X-Was"), "https://desec.io/api/v1/domains/"+zone+"/rrsets/"):
				reply(w, 404, object{"detail": "Not found."})
			case req.Method == http.MethodGet:
				name := req.URL.Query().Get("subname")
				sets := []rrset{}
				for _, typ := range []string{"CNAME", "TXT"} {
					set := rrset{Subname: name, Type: typ}
					for _, r := range m.at(name, typ) {
						set.Records, set.TTL = append(set.Records, r.value), r.ttl
					}
					if len(set.Records) > 0 {
						sets = append(sets, set)
					}
				}
				reply(w, 200, sets)
			case req.Method == http.MethodPut:
				sets := body[[]rrset](req)
				for _, s := range sets {
					if s.TTL < 3600 {
						reply(w, 400, []object{{"ttl": []string{"Ensure this value is greater than or equal to 3600."}}})
						return
					}
					m.replace(s.Subname, s.Type, s.TTL, s.Records)
				}
				reply(w, 200, sets)
			}
		},
	}
}

// hetznerModel: https://docs.hetzner.cloud/reference/cloud#zone-rrsets
func hetznerModel() *model {
	const token = "hetzner-token-4711"
	refuse := func(w http.ResponseWriter, status int, code string) {
		reply(w, status, object{"error": object{"code": code, "message": "not " + code}})
	}
	set := func(m *model, name, typ string) object {
		records, ttl := []object{}, 0
		for _, r := range m.at(name, typ) {
			records, ttl = append(records, object{"value": r.value}), r.ttl
		}
		return object{"id": name + "/" + typ, "name": name, "type": typ, "ttl": ttl, "labels": object{}, "protection": object{"change": false}, "records": records, "zone": 1}
	}
	action := object{"id": 1, "status": "success", "progress": 100, "command": "x", "started": "2026-01-01T00:00:00Z", "resources": []any{}}
	type request struct {
		Name, Type string
		TTL        int
		Records    []struct{ Value string }
	}
	values := func(r request) (all []string) {
		for _, v := range r.Records {
			all = append(all, v.Value)
		}
		return all
	}
	return &model{
		account: dnsupdate.Account{Provider: "hetzner", Settings: map[string]string{"api_token": token}}, secrets: []string{token},
		api: func(m *model, w http.ResponseWriter, req *http.Request) {
			if req.Header.Get("Authorization") != "Bearer "+token {
				refuse(w, 401, "unauthorized")
				return
			}
			path, ok := strings.CutPrefix(req.URL.Path, "/v1/zones/"+zone+"/rrsets")
			if !ok {
				refuse(w, 404, "not_found")
				return
			}
			parts := strings.Split(strings.TrimPrefix(path, "/"), "/")
			switch {
			case req.Method == http.MethodGet:
				sets := []object{}
				for _, typ := range []string{"CNAME", "TXT"} {
					if name := req.URL.Query().Get("name"); len(m.at(name, typ)) > 0 {
						sets = append(sets, set(m, name, typ))
					}
				}
				reply(w, 200, object{"rrsets": sets, "meta": object{"pagination": object{"page": 1, "per_page": 50, "last_page": 1, "total_entries": len(sets)}}})
			case req.Method == http.MethodPost && path == "":
				r := body[request](req)
				if len(m.at(r.Name, "")) > 0 && (r.Type == "CNAME" || len(m.at(r.Name, r.Type)) > 0) || r.TTL < 60 {
					refuse(w, 409, "uniqueness_error")
					return
				}
				m.replace(r.Name, r.Type, r.TTL, values(r))
				reply(w, 201, object{"rrset": set(m, r.Name, r.Type), "action": action})
			case len(m.at(parts[0], parts[1])) == 0:
				refuse(w, 404, "not_found")
			case req.Method == http.MethodDelete:
				m.replace(parts[0], parts[1], 0, nil)
				reply(w, 200, object{"action": action})
			case strings.HasSuffix(path, "/actions/set_records"):
				m.replace(parts[0], parts[1], m.at(parts[0], parts[1])[0].ttl, values(body[request](req)))
				reply(w, 201, object{"action": action})
			}
		},
	}
}

// ionosModel: https://developer.hosting.ionos.com/docs/dns
func ionosModel() *model {
	const key = "public.ionos-secret-4711"
	type rec struct {
		ID, Name, Type, Content string
		TTL                     int
	}
	relative := func(name string) string { return strings.TrimSuffix(strings.TrimSuffix(name, zone), ".") }
	return &model{
		account: dnsupdate.Account{Provider: "ionos", Settings: map[string]string{"api_key": key}}, secrets: []string{key},
		api: func(m *model, w http.ResponseWriter, req *http.Request) {
			path := strings.TrimPrefix(req.URL.Path, "/dns/v1/zones")
			if req.Header.Get("X-API-Key") != key {
				reply(w, 401, []object{{"code": "UNAUTHORIZED", "message": "The customer is not authorized to do this operation."}})
				return
			}
			switch {
			case path == "":
				reply(w, 200, []object{{"id": "zone-id", "name": zone, "type": "NATIVE"}})
			case path == "/zone-id" && req.Method == http.MethodGet:
				records := []object{}
				for _, r := range m.records {
					if full := r.name + "." + zone; full == req.URL.Query().Get("recordName") {
						records = append(records, object{"id": r.id, "name": full, "rootName": zone, "type": r.typ, "content": r.value, "ttl": r.ttl, "disabled": false})
					}
				}
				reply(w, 200, object{"id": "zone-id", "name": zone, "records": records})
			case path == "/zone-id/records" && req.Method == http.MethodPost:
				for _, r := range body[[]rec](req) {
					m.add(relative(r.Name), r.Type, zoneFile(r.Content), r.TTL)
				}
				reply(w, 201, []object{})
			case req.Method == http.MethodDelete && m.remove(strings.TrimPrefix(path, "/zone-id/records/")):
				w.WriteHeader(200)
			case req.Method == http.MethodPut:
				id, r := strings.TrimPrefix(path, "/zone-id/records/"), body[rec](req)
				if i := slices.IndexFunc(m.records, func(r modelRecord) bool { return r.id == id }); i >= 0 && r.TTL >= 60 {
					m.records[i].value, m.records[i].ttl = zoneFile(r.Content), r.TTL
					m.changed()
					return
				}
				fallthrough
			default:
				reply(w, 404, []object{{"code": "RECORD_NOT_FOUND"}})
			}
		},
	}
}

// ovhModel: https://eu.api.ovh.com/console/?section=%2Fdomain
func ovhModel() *model {
	settings := map[string]string{"application_key": "ovh-key-1", "application_secret": "ovh-secret-2", "consumer_key": "ovh-consumer-3"}
	type rec struct {
		FieldType, SubDomain, Target string
		TTL                          int
	}
	return &model{
		staged:  true,
		account: dnsupdate.Account{Provider: "ovh", Settings: settings}, secrets: []string{"ovh-key-1", "ovh-secret-2", "ovh-consumer-3"},
		api: func(m *model, w http.ResponseWriter, req *http.Request) {
			const now = 1790000000 // OVH's clock, not ours
			path := strings.TrimPrefix(req.URL.Path, "/1.0")
			if path == "/auth/time" {
				reply(w, 200, now)
				return
			}
			b, _ := io.ReadAll(req.Body)
			var r rec
			json.Unmarshal(b, &r)
			h := req.Header
			at := h.Get("X-Ovh-Timestamp")
			signed := strings.Join([]string{settings["application_secret"], settings["consumer_key"], req.Method, h.Get("X-Was"), string(b), at}, "+")
			if h.Get("X-Ovh-Signature") != fmt.Sprintf("$1$%x", sha1.Sum([]byte(signed))) || !strings.HasPrefix(at, "17900000") {
				reply(w, 400, object{"class": "Client::BadRequest", "message": "Invalid signature"})
				return
			}
			path, ok := strings.CutPrefix(path, "/domain/zone/"+zone)
			if !ok {
				reply(w, 404, object{"message": "This service does not exist"})
				return
			}
			id := strings.TrimPrefix(path, "/record/")
			i := slices.IndexFunc(m.records, func(r modelRecord) bool { return r.id == id })
			switch {
			case path == "/refresh":
				m.publish()
				reply(w, 200, nil)
			case path == "/record" && req.Method == http.MethodGet:
				ids := []json.Number{}
				for _, r := range m.at(req.URL.Query().Get("subDomain"), "") {
					ids = append(ids, json.Number(r.id))
				}
				reply(w, 200, ids)
			case path == "/record":
				m.add(r.SubDomain, r.FieldType, r.Target, r.TTL)
				reply(w, 200, object{})
			case i < 0:
				reply(w, 404, object{"message": "The requested object (id = " + id + ") does not exist"})
			case req.Method == http.MethodGet:
				r := m.records[i]
				reply(w, 200, object{"id": json.Number(r.id), "fieldType": r.typ, "subDomain": r.name, "target": r.value, "ttl": r.ttl, "zone": zone})
			case req.Method == http.MethodPut:
				m.records[i].value, m.records[i].ttl = r.Target, r.TTL
				m.changed()
				reply(w, 200, nil)
			case req.Method == http.MethodDelete:
				m.remove(id)
				reply(w, 200, nil)
			}
		},
	}
}

// netcupModel: https://helpcenter.netcup.com/en/wiki/domain/our-api
func netcupModel() *model {
	settings := map[string]string{"customer_number": "12345", "api_key": "netcup-key-1", "api_password": "netcup-password-2"}
	type rec struct {
		ID       string `json:"id"`
		Hostname string `json:"hostname"`
		Type     string `json:"type"`
		Priority string `json:"priority"`
		Content  string `json:"destination"`
		Delete   bool   `json:"deleterecord"`
	}
	type request struct {
		Action string
		Param  struct {
			CustomerNumber, APIKey, APIPassword, APISessionID, DomainName string
			DNSRecordSet                                                  struct{ DNSRecords []rec }
		}
	}
	return &model{
		account: dnsupdate.Account{Provider: "netcup", Settings: settings}, secrets: []string{"netcup-key-1", "netcup-password-2"},
		api: func(m *model, w http.ResponseWriter, req *http.Request) {
			r := body[request](req)
			p := r.Param
			answer := func(data any) {
				reply(w, 200, object{"status": "success", "statuscode": 2000, "action": r.Action, "responsedata": data})
			}
			refuse := func(code int, long string) {
				reply(w, 200, object{"status": "error", "statuscode": code, "shortmessage": "Error", "longmessage": long, "responsedata": ""})
			}
			known := p.CustomerNumber == "12345" && p.APIKey == "netcup-key-1"
			switch {
			case req.Header.Get("X-Was") != "https://ccp.netcup.net/run/webservice/servers/endpoint.php?JSON":
				w.WriteHeader(404)
			case r.Action == "login" && known && p.APIPassword == "netcup-password-2":
				answer(object{"apisessionid": "session"})
			case !known || p.APISessionID != "session":
				refuse(4013, "The login or the session is not valid.")
			case r.Action == "logout":
				answer("")
			case p.DomainName != zone:
				refuse(4013, "The zone is not in this account.")
			case r.Action == "infoDnsRecords" && len(m.records) == 0:
				refuse(5029, "There are no records.") // what an empty zone is to netcup
			case r.Action == "updateDnsRecords":
				for _, c := range p.DNSRecordSet.DNSRecords {
					i := slices.IndexFunc(m.records, func(r modelRecord) bool { return r.id == c.ID })
					switch {
					case c.ID == "":
						m.add(c.Hostname, c.Type, c.Content, 86400)
					case i < 0:
						refuse(4013, "no such record")
						return
					case c.Delete:
						m.remove(c.ID)
					default:
						m.records[i].value = c.Content
						m.changed()
					}
				}
				fallthrough
			case r.Action == "infoDnsRecords":
				all := []rec{}
				for _, r := range m.records {
					all = append(all, rec{ID: r.id, Hostname: r.name, Type: r.typ, Priority: "0", Content: r.value})
				}
				answer(object{"dnsrecords": all})
			}
		},
	}
}
