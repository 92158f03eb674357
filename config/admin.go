package config

import (
	"regexp"
	"strings"
)

// AdminAddress reads where the admin listener of a config is, whatever faults
// the rest of the file has: a command that asks the running server about a
// faulty config has to find that server first. ok is false if the address
// cannot be found.
func AdminAddress(path string) (admin string, ok bool) {
	data, err := readFile(path, maxFile)
	if err != nil {
		return "", false
	}
	vals, err := unmarshal(data)
	if err != nil {
		// Not TOML as a whole: most likely a line that is just being typed.
		admin, ok = scanAdmin(string(data))
		if !ok {
			return "", false
		}
	} else {
		listen, _ := vals["listen"].(map[string]any)
		if admin, ok = listen["admin"].(string); !ok {
			return defaultAdmin, true
		}
	}
	if socket, unix := strings.CutPrefix(admin, "unix:"); unix {
		return "unix:" + beside(path, socket), true
	}
	return admin, true
}

// adminLine is the line of [listen] that says where the admin listener is.
var adminLine = regexp.MustCompile(`^\s*admin\s*=\s*"([^"\\]+)"`)

// scanAdmin finds the admin address in a text that is no TOML.
func scanAdmin(text string) (admin string, ok bool) {
	section := ""
	for line := range strings.Lines(text) {
		if trimmed := strings.TrimSpace(line); strings.HasPrefix(trimmed, "[") {
			section = trimmed
		}
		if m := adminLine.FindStringSubmatch(line); m != nil && strings.HasPrefix(section, "[listen]") {
			return m[1], true
		}
	}
	return "", false
}
