// Package corpus runs Perch over many Compose files that others wrote: every one is loaded and rendered in this process, a
// real API server must accept every object by server-side apply (dry run), and what the objects promise is held against
// what Docker would do with the same file. It prints a table:
//
//	go test -v ./test/corpus
package corpus
