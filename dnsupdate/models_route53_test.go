package dnsupdate_test

import (
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/stshost/stshost/dnsupdate"
)

// route53Model: https://docs.aws.amazon.com/Route53/latest/APIReference/
func route53Model() *model {
	const id, secret = "AKIATESTTESTTEST1234", "route53-secret-4711"
	type value struct {
		Value string
	}
	type set struct {
		Name, Type string
		TTL        int
		Values     []value `xml:"ResourceRecords>ResourceRecord"`
	}
	send := func(w http.ResponseWriter, status int, text string) {
		w.WriteHeader(status)
		io.WriteString(w, xml.Header+text)
	}
	refuse := func(w http.ResponseWriter, status int, code string) {
		send(w, status, `<ErrorResponse xmlns="https://route53.amazonaws.com/doc/2013-04-01/"><Error><Type>Sender</Type><Code>`+code+`</Code><Message>because</Message></Error></ErrorResponse>`)
	}
	sets := func(m *model, name string) (all []set) {
		for _, typ := range []string{"CNAME", "TXT"} {
			s := set{Name: name + "." + zone + ".", Type: typ}
			for _, r := range m.at(name, typ) {
				s.TTL, s.Values = r.ttl, append(s.Values, value{r.value})
			}
			if len(s.Values) > 0 {
				all = append(all, s)
			}
		}
		return all
	}
	relative := func(name string) string { return strings.TrimSuffix(strings.TrimSuffix(name, zone+"."), ".") }
	return &model{
		account: dnsupdate.Account{Provider: "route53", Settings: map[string]string{"access_key_id": id, "secret_access_key": secret}}, secrets: []string{secret},
		api: func(m *model, w http.ResponseWriter, req *http.Request) {
			path, ok := strings.CutPrefix(req.Header.Get("X-Was"), "https://route53.amazonaws.com/2013-04-01/")
			path, _, _ = strings.Cut(path, "?")
			switch {
			case !ok:
				w.WriteHeader(404)
			case !strings.Contains(req.Header.Get("Authorization"), "Credential="+id+"/"):
				refuse(w, 403, "InvalidClientTokenId")
			case path == "hostedzonesbyname":
				var out strings.Builder
				for i, private := range []string{"true", "false"} {
					fmt.Fprintf(&out, "<HostedZone><Id>/hostedzone/Z%d</Id><Name>%s.</Name><CallerReference>x</CallerReference><Config><PrivateZone>%s</PrivateZone></Config></HostedZone>", i, zone, private)
				}
				send(w, 200, "<ListHostedZonesByNameResponse><HostedZones>"+out.String()+"</HostedZones><IsTruncated>false</IsTruncated><MaxItems>100</MaxItems></ListHostedZonesByNameResponse>")
			case !strings.HasPrefix(path, "hostedzone/Z1/rrset"):
				refuse(w, 404, "NoSuchHostedZone")
			case req.Method == http.MethodGet:
				out, _ := xml.Marshal(struct {
					XMLName xml.Name `xml:"ListResourceRecordSetsResponse"`
					Sets    []set    `xml:"ResourceRecordSets>ResourceRecordSet"`
				}{Sets: append(sets(m, relative(req.URL.Query().Get("name"))), set{Name: "zz." + zone + ".", Type: "TXT", TTL: 1, Values: []value{{`"next"`}}})})
				send(w, 200, string(out))
			default:
				var r struct {
					Changes []struct {
						Action string
						Set    set `xml:"ResourceRecordSet"`
					} `xml:"ChangeBatch>Changes>Change"`
				}
				xml.NewDecoder(req.Body).Decode(&r)
				for _, c := range r.Changes {
					name := relative(c.Set.Name)
					var values []string
					for _, v := range c.Set.Values {
						values = append(values, v.Value)
					}
					if c.Action == "DELETE" {
						if !slices.ContainsFunc(sets(m, name), func(s set) bool {
							return s.Type == c.Set.Type && s.TTL == c.Set.TTL && slices.Equal(s.Values, c.Set.Values)
						}) {
							refuse(w, 400, "InvalidChangeBatch")
							return
						}
						values = nil
					}
					m.replace(name, c.Set.Type, c.Set.TTL, values)
				}
				send(w, 200, "<ChangeResourceRecordSetsResponse><ChangeInfo><Id>/change/C1</Id><Status>PENDING</Status><SubmittedAt>2026-01-01T00:00:00Z</SubmittedAt></ChangeInfo></ChangeResourceRecordSetsResponse>")
			}
		},
	}
}
