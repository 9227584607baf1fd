// Package configs has the configurations of proxies that docs/gateways.md shows.
package configs

import "embed"

//go:embed *.conf *.cfg
var files embed.FS

// Text returns a configuration. It panics if there is none with the name.
func Text(name string) string {
	text, err := files.ReadFile(name)
	if err != nil {
		panic(err)
	}
	return string(text)
}
