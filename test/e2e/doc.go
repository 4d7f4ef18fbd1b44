// Package e2e tests bin/perch as people use it: it runs the program in folders with Compose files, on a real node, and
// then looks at the cluster, at the host and at what was printed, in this order. One subtest is one obligation.
//
// It must not import the product's packages: what it knows of Perch is what the documentation promises. It never touches
// the user's own cluster, kubeconfig or home: each top-level test makes a user with a cluster, folders and a kubeconfig
// that are nobody else's, and takes all of it away again.
//
//	make e2e                          # everything
//	make e2e RUN=TestNode/Network     # one scenario
//
// PERCH_E2E_PROGRAM is another program to test than bin/perch, PERCH_E2E_DIR another folder for clusters than /var/tmp.
// PERCH_E2E_KEEP=1 leaves the clusters running when a test fails. What a failed test leaves to read is in .cache/e2e.
package e2e
