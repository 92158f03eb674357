package config

import "github.com/BurntSushi/toml"

// AdminAddress reads where the admin listener of a config is, whatever faults
// the rest of the file has: a command that asks the running server about a
// faulty config has to find that server first. ok is false if the file cannot
// be read as TOML at all.
func AdminAddress(path string) (admin string, ok bool) {
	var file struct {
		Listen struct{ Admin string }
	}
	file.Listen.Admin = defaultAdmin
	if _, err := toml.DecodeFile(path, &file); err != nil {
		return "", false
	}
	return file.Listen.Admin, true
}
