package compose

// Folder is the project's folder, absolute: its relative paths start there, and its .env and its secrets files are in it. The
// Compose files are looked for and not read.
func Folder(o Options) (string, error) {
	start := absolute(o.WorkingDir, o.ProjectDir)
	files, err := locate(o, withEnvFiles(o, start, baseEnvironment(o), new(findings)))
	if err != nil {
		return "", err
	}
	return projectDir(o, files), nil
}
