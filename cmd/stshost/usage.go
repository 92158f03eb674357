package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// nameArguments has every command below cmd say which argument is missing or
// too many, where cobra counts them.
func nameArguments(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		nameArguments(sub)
		if sub.Args == nil || sub.HasSubCommands() {
			continue // an unknown subcommand, which cobra names
		}
		accepts := sub.Args
		sub.Args = func(cmd *cobra.Command, args []string) error {
			if err := accepts(cmd, args); err != nil {
				return argumentError(cmd, args)
			}
			return nil
		}
	}
}

// argumentError says what is wrong with the number of args.
func argumentError(cmd *cobra.Command, args []string) error {
	path := cmd.CommandPath()
	wanted := strings.Fields(strings.TrimSuffix(strings.TrimPrefix(cmd.UseLine(), path), "[flags]"))
	if len(args) > len(wanted) {
		extra := args[len(wanted)]
		if len(wanted) == 0 {
			return fmt.Errorf("%s takes no argument, and got %q", path, extra)
		}
		return fmt.Errorf("%s takes no argument after %s, and got %q", path, strings.Join(wanted, " "), extra)
	}
	// What may be left out is not what is missing.
	wanted = slices.DeleteFunc(wanted, func(arg string) bool { return strings.HasPrefix(arg, "[") })
	return fmt.Errorf("%s needs %s", path, strings.Join(wanted[len(args):], " and "))
}

// counted is "1 domain", "2 domains".
func counted[N int | int64](n N, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}

// flagError says of a flag's value what is wrong with it, without the words of the
// parser.
func flagError(_ *cobra.Command, err error) error {
	var invalid *pflag.InvalidValueError
	if !errors.As(err, &invalid) || !errors.As(err, new(*strconv.NumError)) {
		return err
	}
	return fmt.Errorf("--%s wants a number, and got %q", invalid.GetFlag().Name, invalid.GetValue())
}
