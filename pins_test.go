package stshost_test

// The dependencies of what is being built, pinned before their first use.
import (
)
