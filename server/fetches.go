package server

import "time"

// Fetches is what senders did at one policy host since the server started.
type Fetches struct {
	Domain           string       `json:"domain" doc:"Policy domain in A-labels"`
	Host             string       `json:"host" doc:"Policy host, mta-sts.<domain>"`
	Since            time.Time    `json:"since" doc:"When counting began"`
	Served           uint64       `json:"served" doc:"Requests answered with the policy"`
	Refused          uint64       `json:"refused" doc:"Requests for the policy, or to the wrong host, answered with an error"`
	FailedHandshakes uint64       `json:"failed_handshakes" doc:"TLS handshakes that asked for this host and failed"`
	LastServed       time.Time    `json:"last_served,omitzero" doc:"When the policy was last fetched"`
	Recent           []FetchEvent `json:"recent" doc:"Latest requests, newest first"`
	RecentFailures   []FetchEvent `json:"recent_failures" doc:"Latest failed handshakes, newest first"`
}

// FetchEvent is one request at a policy host, or one failed TLS handshake.
type FetchEvent struct {
	Time      time.Time `json:"time"`
	Remote    string    `json:"remote" doc:"Address and port of the client"`
	UserAgent string    `json:"user_agent,omitempty" doc:"User-Agent of the request, cut to 128 bytes"`
	Protocol  string    `json:"protocol,omitempty" doc:"HTTP and TLS version"`
	Status    int       `json:"status,omitempty" doc:"HTTP status of the answer; 0 for a failed handshake"`
	Reason    string    `json:"reason,omitempty" doc:"Why it was refused or failed"`
}
