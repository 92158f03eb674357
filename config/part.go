package config

import (
	"errors"
	"io/fs"
	"os"
)

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

// Look is what of a config it takes to look at domains as senders do.
type Look struct {
	Net   Net
	Store Store // empty if the config has none that can be used
}

// LoadLook reads how to look at domains, whatever faults the other sections
// have and whatever secrets may not be read: who looks changes nothing, and
// needs neither. A file that is optional and is not there, or may not be read,
// says nothing. The error is [Errors], as that of [Load].
func LoadLook(path string, optional bool) (out Look, err error) {
	if optional && absent(path) {
		none := table{l: &loader{}, at: &node{}}
		return Look{Net: readNet(none)}, nil
	}
	err = loadPart(path, Options{}, func(l *loader, top table) {
		out.Net = readNet(top.sub("net"))
		before := len(l.errs)
		out.Store = readStore(top.sub("store"))
		if len(l.errs) > before { // and no default may stand in for the store that is meant
			l.errs, out.Store = l.errs[:before], Store{}
		}
	})
	if err != nil {
		return Look{}, err
	}
	return out, nil
}

// absent reports whether there is no file at path for us. What the file names
// in turn does not count.
func absent(path string) bool {
	_, err := readFile(path, maxFile)
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission)
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
