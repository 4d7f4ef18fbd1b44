package assets

import "embed"

//go:embed files/amd64
var files embed.FS
