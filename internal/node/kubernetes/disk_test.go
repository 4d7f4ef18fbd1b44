package kubernetes

import "testing"

func TestDiskLimits(t *testing.T) {
	t.Parallel()
	for size, want := range map[int64]diskLimits{
		0:       {90, 89, 0},
		20e9:    {90, 89, 600e6},
		100e9:   {90, 89, 2e9},
		250e9:   {96, 95, 2e9},
		1000e9:  {99, 98, 2e9},
		10000e9: {99, 98, 2e9},
	} {
		if got := diskLimitsOf(size); got != want {
			t.Errorf("%d: %+v, want %+v", size, got, want)
		}
		if got := diskLimitsOf(size); got.imagesLow >= got.imagesHigh || size > 0 && size/100*int64(100-got.imagesHigh) < got.evictBelow {
			t.Errorf("%d: pods go before images do: %+v", size, got)
		}
	}
}
