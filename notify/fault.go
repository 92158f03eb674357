package notify

import (
	"errors"
	"net/url"
	"strings"
)

// fault finds what is wrong with a URL that its service does not take, where
// that can be told; shoutrrr itself does not say. nil: it cannot.
func fault(rawURL string) error {
	u, err := url.Parse(rawURL)
	if err != nil {
		return errors.New("the URL is not well-formed; percent-encode what is special in user and password: @ is %40, / is %2F, # is %23, ? is %3F, % is %25")
	}
	if service(rawURL) != "smtp" {
		return nil
	}
	const form = "write smtp://USER:PASSWORD@HOST:587/?from=ADDRESS&to=ADDRESS"
	switch {
	case u.Host == "":
		return errors.New("the URL names no mail server; " + form)
	case !queryHas(rawURL, "from", "fromaddress"):
		return errors.New("the URL has no from=, the sender's address; " + form)
	case !queryHas(rawURL, "to", "toaddresses"):
		return errors.New("the URL has no to=, the recipient's address; " + form)
	}
	return errors.New("the URL has a parameter that mail does not have, or a value that it does not take; " + form +
		", and see https://shoutrrr.nickfedor.com for what else there is")
}

// queryHas reports whether the URL has a value for one of the keys, which are
// in lower case.
func queryHas(rawURL string, keys ...string) bool {
	u, err := url.Parse(rawURL)
	if err != nil {
		return false
	}
	for key, values := range u.Query() {
		for _, want := range keys {
			if strings.EqualFold(key, want) && values[0] != "" {
				return true
			}
		}
	}
	return false
}
