package database

import (
	"context"
	_ "embed"
)

//go:embed seed.sql
var seedSQL string

// Seed inserts the first rows and returns how many were new: run again, none are, and no row that is there is touched.
func (d *Database) Seed(ctx context.Context) (int64, error) {
	tag, err := d.pool.Exec(ctx, seedSQL)
	return tag.RowsAffected(), err
}
