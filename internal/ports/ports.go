// Package ports knows what the number of a port tells. It imports nothing of ours.
package ports

import "slices"

// WellKnown tells whether a TCP port is that of a known protocol other than HTTP, as of a database, of mail or of SSH.
func WellKnown(port int32) bool {
	return slices.Contains([]int32{
		21, 22, 23, 25, 53, 110, 143, 389, 465, 587, 636, 993, 995, 1433, 1521, 1883, 2181, 2222, 3306, 4222, 5432, 5433, 5671, 5672, 6379,
		6432, 7000, 7687, 8883, 9042, 9092, 11211, 26379, 27017, 33060,
	}, port)
}
