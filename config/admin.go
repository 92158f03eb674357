package config

import "strings"

// AdminAddress reads where the admin listener of a config is, whatever faults
// the rest of the file has: a command that asks the running server about a
// faulty config has to find that server first. ok is false if the file cannot
// be read as TOML at all.
func AdminAddress(path string) (admin string, ok bool) {
	data, err := readFile(path, maxFile)
	if err != nil {
		return "", false
	}
	vals, err := unmarshal(data)
	if err != nil {
		return "", false
	}
	listen, _ := vals["listen"].(map[string]any)
	if admin, ok = listen["admin"].(string); !ok {
		return defaultAdmin, true
	}
	if socket, unix := strings.CutPrefix(admin, "unix:"); unix {
		return "unix:" + beside(path, socket), true
	}
	return admin, true
}
