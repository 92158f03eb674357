package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// maxFile bounds a config file; 100,000 domains take a tenth of it.
const maxFile = 256 << 20

// loader collects what one Load reads and finds.
type loader struct {
	opts     Options
	cfg      *Config
	errs     []Error
	warnings []Error

	accounts map[string]bool // every [dns.NAME], even one with faults: it exists
	declared int             // how many of them the config declares itself
	profiles map[string]policySettings
	ownNames []ownNames // of the certificates that can be used
	// partial: a file could not be read whole, so what seems not to exist may
	// stand there.
	partial bool
}

// Load reads the config at path with all that it includes and checks it
// whole. The error is Errors: every finding, sorted by file and line.
func Load(path string, opts Options) (*Config, error) {
	if opts.Getenv == nil {
		opts.Getenv = os.Getenv
	}
	l := &loader{
		opts:     opts,
		cfg:      &Config{File: path},
		accounts: map[string]bool{PrintAccount: true},
		profiles: map[string]policySettings{},
	}
	l.load(path)
	sortErrors(l.errs)
	if len(l.errs) > 0 {
		return nil, Errors(l.errs)
	}
	sortErrors(l.warnings)
	l.cfg.Warnings = l.warnings
	return l.cfg, nil
}

func (l *loader) load(path string) {
	top, ok := l.main(path)
	if !ok {
		return
	}
	tops := []table{top}
	for _, inc := range l.include(top) {
		l.cfg.Files = append(l.cfg.Files, inc.path)
		top, ok := l.parse(inc.path, inc.data)
		if !ok {
			l.partial = true
			continue
		}
		tops = append(tops, top)
	}
	l.readMain(top)
	l.readDomains(tops)
	l.idleCertificates()
}

// main reads the main file and parses it.
func (l *loader) main(path string) (table, bool) {
	data, err := readFile(path, maxFile)
	if err != nil {
		remedy := "name the config with --config, or write one with `stshost config init DOMAIN`"
		if errors.Is(err, fs.ErrPermission) {
			remedy = "run the command as the user of the service, as in `sudo -u stshost stshost …`"
		}
		l.failFile(Pos{File: path}, err, remedy, "cannot be read: %s", reason(err))
		return table{}, false
	}
	l.cfg.Files = append(l.cfg.Files, path)
	return l.parse(path, data)
}

func (l *loader) parse(path string, data []byte) (table, bool) {
	vals, root, ok := decode(path, data, func(e Error) { l.errs = append(l.errs, e) })
	return table{l: l, file: path, vals: vals, at: root}, ok
}

// fail reports a finding that keeps the config from being used.
func (l *loader) fail(at Pos, remedy, what string, args ...any) {
	l.errs = append(l.errs, Error{Pos: at, What: fmt.Sprintf(what, args...), Remedy: remedy})
}

// failFile reports a file that cannot be used.
func (l *loader) failFile(at Pos, cause error, remedy, what string, args ...any) {
	l.errs = append(l.errs, Error{Pos: at, What: fmt.Sprintf(what, args...), Remedy: remedy, cause: cause})
}

// warn reports a finding that does not keep the config from being used.
func (l *loader) warn(at Pos, remedy, what string, args ...any) {
	l.warnings = append(l.warnings, Error{Pos: at, What: fmt.Sprintf(what, args...), Remedy: remedy})
}

// beside resolves a path of a config file: a relative one begins at the
// directory of that file.
func beside(file, path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(filepath.Dir(file), path)
}

// readFile reads a regular file of at most limit bytes. Anything else could
// block a reload (a FIFO) or never end (a device).
func readFile(path string, limit int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return nil, fmt.Errorf("%s is a directory", path)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%s has more than %d bytes", path, limit)
	}
	return data, nil
}

// reason is what the operating system said of a file, without the path that
// the message names already.
func reason(err error) string {
	if pe, ok := err.(*fs.PathError); ok {
		return pe.Err.Error()
	}
	return err.Error()
}

// included is a file that the main one includes.
type included struct {
	path string
	data []byte
}

// include finds and reads the files of `include`, each pattern's in name order.
func (l *loader) include(top table) []included {
	items, _, wrong := top.list("include", `["domains.d/*.toml"]`)
	l.partial = l.partial || wrong
	seen := map[string]bool{absolute(top.file): true}
	var out []included
	for _, it := range items {
		paths, ok := l.glob(top.file, it)
		if !ok {
			l.partial = true
			continue
		}
		for _, p := range paths {
			if abs := absolute(p); seen[abs] {
				continue // two patterns may meet in one file
			} else {
				seen[abs] = true
			}
			data, err := readFile(p, maxFile)
			if err != nil {
				l.partial = true
				remedy := "make it a file that the user who runs stshost can read, or take it out of include"
				if errors.Is(err, fs.ErrNotExist) {
					remedy = "correct the path, or write a pattern such as \"domains.d/*.toml\", which may match nothing"
				}
				l.failFile(it.at, err, remedy,
					"included file %s cannot be read: %s", p, reason(err))
				continue
			}
			out = append(out, included{p, data})
		}
	}
	return out
}

// glob lists the files of one element of include. A pattern may match
// nothing yet; a plain path must exist.
func (l *loader) glob(file string, it item) ([]string, bool) {
	if it.s == "" {
		l.fail(it.at, `write a path or a pattern, e.g. include = ["domains.d/*.toml"]`, "an element of include is empty")
		return nil, false
	}
	pattern := it.s
	if !filepath.IsAbs(pattern) {
		// The directory is not part of the pattern, whatever its name.
		pattern = filepath.Join(escapeGlob(filepath.Dir(file)), pattern)
	}
	if !strings.ContainsAny(it.s, `*?[\`) {
		return []string{beside(file, it.s)}, true
	}
	paths, err := filepath.Glob(pattern)
	if err != nil {
		l.fail(it.at, "close each [ with ], and escape with a backslash what is no pattern",
			"include has the pattern %s, which is not well-formed", show(it.s))
		return nil, false
	}
	// Glob passes over a directory that it cannot read as over an empty one,
	// and a reload would drop every domain in it.
	dir := beside(file, fixedDir(it.s))
	if _, err := os.ReadDir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		l.failFile(it.at, err, "make it a directory that the user who runs stshost can read, or correct the pattern",
			"the directory %s of the include pattern %s cannot be read: %s", dir, show(it.s), reason(err))
		return nil, false
	}
	// As in a shell, * leaves out hidden files: an editor's locks and backups.
	if !strings.HasPrefix(filepath.Base(it.s), ".") {
		paths = slices.DeleteFunc(paths, func(p string) bool { return strings.HasPrefix(filepath.Base(p), ".") })
	}
	slices.Sort(paths)
	return paths, true
}

// fixedDir is the directory in front of the first element of a pattern that
// stands for several names.
func fixedDir(pattern string) string {
	if i := strings.IndexAny(pattern, `*?[\`); i >= 0 {
		pattern = pattern[:i]
	}
	return pattern[:strings.LastIndexByte(pattern, filepath.Separator)+1]
}

func escapeGlob(dir string) string {
	return strings.NewReplacer(`*`, `\*`, `?`, `\?`, `[`, `\[`, `\`, `\\`).Replace(dir)
}

func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}
