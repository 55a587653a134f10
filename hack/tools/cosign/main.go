// cosign without the clients of key services, and with no identity but that of a workflow on GitHub: what a release needs.
package main

import (
	"fmt"
	"os"

	"github.com/sigstore/cosign/v3/cmd/cosign/cli"
	_ "github.com/sigstore/cosign/v3/pkg/providers/github"
)

func main() {
	if err := cli.New().Execute(); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}
