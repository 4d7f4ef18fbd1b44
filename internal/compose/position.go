package compose

// Problem is a complaint about a path of the project, as "services", "web", "develop", at the place where it stands in the
// Compose files. It is for stages that find something wrong after loading.
func (p *Project) Problem(message, hint string, path ...string) Problem {
	if p.find == nil {
		return Problem{Path: pathString(path), Message: message, Hint: hint}
	}
	return p.find(path...).problem(message, hint)
}

// Sorted is p in file order, each complaint once.
func (p Problems) Sorted() Problems { return p.sorted() }
