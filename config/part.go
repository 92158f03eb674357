package config

import "os"

// LoadStore reads where the store of a config is, whatever faults the other
// sections have: a backup must not fail because the config is being edited, or
// because a secret that only the server needs cannot be read. The error is
// [Errors], as that of [Load].
func LoadStore(path string) (out Store, err error) {
	err = loadPart(path, Options{}, func(_ *loader, top table) { out = readStore(top.sub("store")) })
	return out, err
}

// LoadNotify reads who is to be told what happens, whatever faults the other
// sections have. The error is [Errors], as that of [Load].
func LoadNotify(path string, opts Options) (out map[string]Notify, err error) {
	err = loadPart(path, opts, func(l *loader, top table) { out = l.readNotify(top.sub("notify")) })
	return out, err
}

// loadPart has read read what it needs of the main file, and returns the faults
// that it met.
func loadPart(path string, opts Options, read func(l *loader, top table)) error {
	if opts.Getenv == nil {
		opts.Getenv = os.Getenv
	}
	l := &loader{opts: opts, cfg: &Config{File: path}}
	if top, ok := l.main(path); ok {
		read(l, top)
	}
	sortErrors(l.errs)
	if len(l.errs) > 0 {
		return Errors(l.errs)
	}
	return nil
}
