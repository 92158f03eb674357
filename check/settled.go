package check

// settled tells which addresses of MX hosts could be judged, and what could not:
// the hosts that it is of, and the names of TLSA records.
func (j *judgement) settled() (judged, open []string) {
	scratch := newJudgement(j.ev)
	scratch.policy = j.policy
	for i := range j.ev.MX.Hosts {
		h := &j.ev.MX.Hosts[i]
		whole := !h.Untried && h.Err == nil && h.More == 0
		for k := range h.Addresses {
			l := &h.Addresses[k]
			if l.Address == "" || scratch.judgeSMTP(h.Name, l) == smtpUnknown {
				whole = false
				continue
			}
			judged = append(judged, at(h.Name, l.Address))
		}
		if !whole {
			open = append(open, h.Name)
		}
		if !isAddress(h.Name) && (h.TLSA.Err != nil || !h.TLSA.Judged) {
			open = append(open, tlsaName(h.Name))
		}
	}
	return judged, open
}
