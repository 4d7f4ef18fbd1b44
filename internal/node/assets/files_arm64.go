package assets

import "embed"

//go:embed files/arm64
var files embed.FS
