package image

import "context"

const (
	commitDigits = 12
	hashDigits   = 8
	soloDigits   = 12 // when there is no commit to stand before the hash
)

// tagOf is the tag of the image that r makes. It is the short commit when the commit says all: the files are as in it
// and nothing else decides about the result. Otherwise the hash of the content follows, or stands alone where there
// is no commit.
func (r *recipe) tagOf(ctx context.Context, parents []string) (string, error) {
	rev := r.revision(ctx)
	if rev.commit != "" && !rev.dirty && r.plain() {
		return rev.commit[:commitDigits], nil
	}
	sum, err := r.contentHash(ctx, parents)
	if err != nil {
		return "", err
	}
	if rev.commit == "" {
		return sum[:soloDigits], nil
	}
	return rev.commit[:commitDigits] + "-" + sum[:hashDigits], nil
}
