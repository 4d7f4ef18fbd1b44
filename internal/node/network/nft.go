package network

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
)

// nft runs the nft program in the calling thread's network namespace: it is what kube-proxy uses, so it is there.
func nft(ctx context.Context, rules string) error {
	_, err := runNFT(ctx, rules, "-f", "-")
	return err
}

// nftOutput is what nft prints.
func nftOutput(ctx context.Context, args ...string) ([]byte, error) { return runNFT(ctx, "", args...) }

func runNFT(ctx context.Context, stdin string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "nft", args...)
	cmd.Stdin = strings.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("nft %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.Bytes(), nil
}
