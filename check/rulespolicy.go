package check

// Codes of what is found in the body of a policy, and of how senders read it.
const (
	PolicyOK           = "STS-POLICY-OK"
	PolicySkipped      = "STS-POLICY-SKIPPED"
	PolicyGrammar      = "STS-POLICY-GRAMMAR"
	PolicyMaxAgeZero   = "STS-POLICY-MAX-AGE-ZERO"
	PolicyMaxAgeShort  = "STS-POLICY-MAX-AGE-SHORT"
	PolicyDuplicateKey = "STS-POLICY-DUPLICATE-KEY"
	PolicyDuplicateMX  = "STS-POLICY-DUPLICATE-MX"
	PolicyUnknownKey   = "STS-POLICY-UNKNOWN-KEY"
	ReadersAgree       = "STS-READERS-AGREE"
	ReadersRecord      = "STS-READERS-RECORD"
	ReadersPolicy      = "STS-READERS-POLICY"
	ReadersLenient     = "STS-READERS-LENIENT"
	ReadersLose        = "STS-READERS-LOSE"
)

func policyRules() []Rule {
	const grammar = "RFC 8461 §3.2"
	return []Rule{
		{PolicyOK, pass, none, grammar, "a valid policy", "The policy keeps to the grammar.", ""},
		{PolicySkipped, skipped, none, grammar, "no policy to read", "No policy could be fetched, so there is nothing to read.", ""},
		{PolicyGrammar, fail, ignored, grammar, "the policy breaks the grammar", "Senders that keep to the grammar ignore the policy.",
			"correct what is named; a policy has one key, a colon and a value on each line, and no blank lines: version: STSv1, mode, mx for each MX host, max_age"},
		{PolicyMaxAgeZero, warn, partial, grammar, "a max_age of 0", "Senders forget the policy at once: an attacker who hides the record switches it off.",
			"set max_age to a week or more: 604800"},
		{PolicyMaxAgeShort, warn, risk, grammar, "a short max_age", "In mode enforce a max_age of less than a day protects little: an attacker has only to hide the record for that long.",
			"set max_age to some weeks once all is stable: 2419200"},
		{PolicyDuplicateKey, warn, partial, grammar, "a key stands twice", "Of a repeated key senders are to take the first; some take the last.",
			"leave one of the lines"},
		{PolicyDuplicateMX, warn, risk, grammar, "an mx stands twice", "The same pattern stands twice. It does no harm; it is likely meant to be another.",
			"remove the line, or write the host that was meant"},
		{PolicyUnknownKey, warn, partial, grammar, "an unknown key", "Senders are to ignore keys that they do not know. Some readers refuse the policy, and a key that is misspelt is missing.",
			"remove the line, or correct the key"},
		{ReadersAgree, pass, none, grammar, "readers agree", "All readers that are modelled read record and policy as RFC 8461 has it.", ""},
		{ReadersRecord, warn, partial, "RFC 8461 §3.1", "some readers ignore the record", "The record is right by the RFC, and there are readers that ignore it all the same.",
			"write the record exactly as `v=STSv1; id=…;`, the only TXT record at the name"},
		{ReadersPolicy, warn, partial, grammar, "some readers read the policy otherwise", "The policy is right by the RFC, and there are readers that ignore it or read it otherwise.",
			"write the policy plainly: version, mode, mx and max_age, one line each, CRLF at the ends, nothing else"},
		{ReadersLenient, warn, partial, grammar, "some readers take what is wrong", "By the RFC record or policy is to be ignored, and there are readers that take it all the same: for them it counts, also where it says enforce.",
			"correct what is wrong, and until then do not rely on its being ignored"},
		{ReadersLose, fail, partial, "RFC 8461 §4.1", "some readers refuse MX hosts", "There are readers that read mode enforce in this policy, or other MX patterns, where RFC 8461 does not, and MX hosts that they refuse by it: mail from those senders is lost.",
			"correct what readers read in different ways, and the MX hosts that are refused"},
	}
}
