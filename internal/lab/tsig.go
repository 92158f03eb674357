package lab

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/miekg/dns"
)

// tsigFudge is the clock difference that a signature tolerates, in seconds
// (RFC 8945 §10 recommends 300).
const tsigFudge = 300

// Generate implements dns.TsigProvider.
func (k TSIG) Generate(msg []byte, t *dns.TSIG) ([]byte, error) {
	if dns.CanonicalName(t.Hdr.Name) != k.Name {
		return nil, dns.ErrSecret
	}
	if dns.CanonicalName(t.Algorithm) != dns.HmacSHA256 {
		return nil, dns.ErrKeyAlg
	}
	secret, err := base64.StdEncoding.DecodeString(k.Secret)
	if err != nil {
		return nil, err
	}
	mac := hmac.New(sha256.New, secret)
	mac.Write(msg)
	return mac.Sum(nil), nil
}

// Verify implements dns.TsigProvider.
func (k TSIG) Verify(msg []byte, t *dns.TSIG) error {
	want, err := k.Generate(msg, t)
	if err != nil {
		return err
	}
	got, err := hex.DecodeString(t.MAC)
	if err != nil || !hmac.Equal(got, want) {
		return dns.ErrSig
	}
	return nil
}

// answerTSIG writes resp, the answer to req, signed if req was signed. A bad
// signature turns it into NOTAUTH with the reason in the TSIG record
// (RFC 8945 §5.2), whatever it was.
func (d *DNS) answerTSIG(w dns.ResponseWriter, req, resp *dns.Msg) {
	reqTSIG := req.IsTsig()
	if reqTSIG == nil {
		_ = w.WriteMsg(resp) // the client is gone: nobody to tell
		return
	}
	status := w.TsigStatus()
	if status != nil {
		resp = new(dns.Msg).SetRcode(req, dns.RcodeNotAuth)
	}
	sign := &dns.TSIG{
		Hdr:        dns.RR_Header{Name: reqTSIG.Hdr.Name, Rrtype: dns.TypeTSIG, Class: dns.ClassANY},
		Algorithm:  reqTSIG.Algorithm,
		Fudge:      tsigFudge,
		TimeSigned: uint64(time.Now().Unix()), // miekg/dns verifies by the real clock
		OrigId:     req.Id,
		Error:      tsigError(status),
	}
	if sign.Error == dns.RcodeBadTime {
		// RFC 8945 §5.2.3: the client's time as signed, ours in Other Data.
		sign.OtherLen = 6
		sign.OtherData = fmt.Sprintf("%012x", sign.TimeSigned)
		sign.TimeSigned = reqTSIG.TimeSigned
	}
	resp.Extra = append(resp.Extra, sign)
	_ = w.WriteMsg(resp)
}

// tsigError is the code for what is wrong with a signature (RFC 8945 §5.2).
func tsigError(status error) uint16 {
	switch {
	case status == nil:
		return dns.RcodeSuccess
	case errors.Is(status, dns.ErrTime):
		return dns.RcodeBadTime
	case errors.Is(status, dns.ErrSecret), errors.Is(status, dns.ErrKeyAlg):
		return dns.RcodeBadKey
	}
	return dns.RcodeBadSig
}
