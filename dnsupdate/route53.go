package dnsupdate

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"
	"github.com/aws/smithy-go"
	"github.com/miekg/dns"
	"golang.org/x/time/rate"
)

func route53Settings() []Setting {
	return []Setting{
		{Key: "access_key_id", Required: true, Doc: "id of an access key whose policy allows route53:ListHostedZonesByName, ListResourceRecordSets and ChangeResourceRecordSets"},
		{Key: "secret_access_key", Required: true, Secret: true, Doc: "secret of that access key"},
		{Key: "hosted_zone_id", Doc: "id of the hosted zone, for a key that may not list zones or if several have the same name; the account serves that one zone then"},
	}
}

const (
	// Route 53 allows an AWS account 5 requests a second over everything.
	route53Rate, route53Burst = 3, 5
	// route53Region is where requests to Route 53, which is everywhere, are
	// signed for.
	route53Region = "us-east-1"
)

// route53 changes records over AWS's own module: a record set is replaced as a
// whole in one change, in the notation of a zone file. Nothing but the settings
// says who we are: neither the environment nor ~/.aws is read.
type route53 struct {
	sdk     *sdk.Client
	limiter *rate.Limiter
	fixed   string // hosted_zone_id

	mu    sync.Mutex
	zones map[string]string // apex with dot → hosted zone id
}

func openRoute53(settings map[string]string, env environment) (client, error) {
	key := aws.Credentials{
		AccessKeyID:     strings.TrimSpace(settings["access_key_id"]),
		SecretAccessKey: strings.TrimSpace(settings["secret_access_key"]),
	}
	return &route53{
		sdk: sdk.New(sdk.Options{
			Region:           route53Region,
			Credentials:      aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return key, nil }),
			HTTPClient:       &http.Client{Transport: env.transport, Timeout: apiTimeout, CheckRedirect: noRedirect},
			RetryMaxAttempts: 3,
		}),
		limiter: rate.NewLimiter(route53Rate, route53Burst),
		fixed:   strings.TrimPrefix(strings.TrimSpace(settings["hosted_zone_id"]), "/hostedzone/"),
		zones:   make(map[string]string),
	}, nil
}

func (c *route53) pacing() *rate.Limiter { return c.limiter }

func (c *route53) read(ctx context.Context, at site) ([]record, error) {
	id, err := c.zoneID(ctx, at)
	if err != nil {
		return nil, err
	}
	if err := pace(ctx, c.limiter); err != nil {
		return nil, err
	}
	// Sets come in the order of their names, from this one on.
	out, err := c.sdk.ListResourceRecordSets(ctx, &sdk.ListResourceRecordSetsInput{
		HostedZoneId: &id, StartRecordName: &at.name, MaxItems: aws.Int32(100),
	})
	if err != nil {
		return nil, c.explain(at, err)
	}
	var records []record
	for _, set := range out.ResourceRecordSets {
		switch {
		case dns.CanonicalName(aws.ToString(set.Name)) != at.name:
		case set.Type == types.RRTypeCname && len(set.ResourceRecords) > 0:
			return nil, &aliasError{name: at.name, target: aws.ToString(set.ResourceRecords[0].Value)}
		case set.Type != types.RRTypeTxt:
		case set.SetIdentifier != nil || set.AliasTarget != nil:
			return nil, fmt.Errorf("the TXT records at %s have a routing policy or are an alias in Route 53, which cannot be kept while one of them is changed; make them a simple record set, or lead %s by CNAME to a name of its own",
				trimDot(at.name), trimDot(at.name))
		default:
			for _, r := range set.ResourceRecords {
				records = append(records, recordOf(aws.ToString(r.Value), int(aws.ToInt64(set.TTL))))
			}
		}
	}
	return records, nil
}

func (c *route53) write(ctx context.Context, at site, e edit) error {
	id, err := c.zoneID(ctx, at)
	if err != nil {
		return err
	}
	now, err := c.read(ctx, at)
	if err != nil {
		return err
	}
	if e = e.onto(now); e.empty() {
		return nil
	}
	if err := pace(ctx, c.limiter); err != nil {
		return err
	}
	change := types.Change{Action: types.ChangeActionUpsert, ResourceRecordSet: &types.ResourceRecordSet{
		Name: &at.name, Type: types.RRTypeTxt, TTL: aws.Int64(int64(at.ttl / time.Second)),
	}}
	values := e.after()
	if len(values) == 0 {
		// A set is deleted by naming it exactly as it is.
		change.Action, values = types.ChangeActionDelete, e.before()
		change.ResourceRecordSet.TTL = aws.Int64(int64(e.drop[0].ttl / time.Second))
	}
	for _, v := range values {
		change.ResourceRecordSet.ResourceRecords = append(change.ResourceRecordSet.ResourceRecords, types.ResourceRecord{Value: aws.String(v)})
	}
	_, err = c.sdk.ChangeResourceRecordSets(ctx, &sdk.ChangeResourceRecordSetsInput{
		HostedZoneId: &id, ChangeBatch: &types.ChangeBatch{Changes: []types.Change{change}},
	})
	return c.explain(at, err)
}

// zoneID looks the public hosted zone of the name up once and keeps its id.
func (c *route53) zoneID(ctx context.Context, at site) (string, error) {
	if c.fixed != "" {
		return c.fixed, nil
	}
	c.mu.Lock()
	id, ok := c.zones[at.zone]
	c.mu.Unlock()
	if ok {
		return id, nil
	}
	if err := pace(ctx, c.limiter); err != nil {
		return "", err
	}
	out, err := c.sdk.ListHostedZonesByName(ctx, &sdk.ListHostedZonesByNameInput{DNSName: &at.zone, MaxItems: aws.Int32(100)})
	if err != nil {
		return "", c.explain(at, err)
	}
	var ids []string
	for _, z := range out.HostedZones {
		if dns.CanonicalName(aws.ToString(z.Name)) == at.zone && (z.Config == nil || !z.Config.PrivateZone) {
			ids = append(ids, strings.TrimPrefix(aws.ToString(z.Id), "/hostedzone/"))
		}
	}
	switch len(ids) {
	case 0:
		return "", noZone("Route 53 shows this access key no public hosted zone %s; is it in this AWS account? Another `zone` can be named in the config", trimDot(at.zone))
	case 1:
	default:
		return "", fmt.Errorf("there are at Route 53 %d public hosted zones %s (%s); name the one that the registrar delegates to in hosted_zone_id", len(ids), trimDot(at.zone), strings.Join(ids, ", "))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.zones[at.zone] = ids[0]
	return ids[0], nil
}

// explain says what an error of the API means.
func (c *route53) explain(at site, err error) error {
	var api smithy.APIError
	if !errors.As(err, &api) {
		if err != nil {
			err = fmt.Errorf("the Route 53 API cannot be reached: %w", err)
		}
		return err
	}
	switch api.ErrorCode() {
	case "NoSuchHostedZone":
		c.mu.Lock()
		clear(c.zones)
		c.mu.Unlock()
		return noZone("Route 53 has no such hosted zone for %s (%s)", trimDot(at.name), api.ErrorMessage())
	case "InvalidChangeBatch":
		if c.fixed != "" {
			return noZone("Route 53 does not take the change of %s in hosted zone %s; is that zone %s? (%s)", trimDot(at.name), c.fixed, trimDot(at.zone), api.ErrorMessage())
		}
	case "AccessDenied", "AccessDeniedException":
		return noZone("Route 53 does not let this access key do this: %s", api.ErrorMessage())
	case "InvalidClientTokenId", "UnrecognizedClientException":
		return errors.New("AWS does not know this access_key_id; copy it anew, or make a new access key")
	case "SignatureDoesNotMatch":
		return errors.New("AWS does not accept the signature; compare secret_access_key, and see that this machine's clock is right")
	case "Throttling", "ThrottlingException", "PriorRequestNotComplete":
		return fmt.Errorf("the Route 53 API wants fewer requests (%s); it is tried again", api.ErrorCode())
	}
	return fmt.Errorf("the Route 53 API answers %s: %s", api.ErrorCode(), api.ErrorMessage())
}
