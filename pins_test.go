package stshost_test

// The dependencies of what is being built, pinned before their first use.
import (
	_ "github.com/mholt/acmez/v3/acme"
)
