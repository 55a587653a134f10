// Command olm validates a bundle for the Operator Lifecycle Manager, by the rules of its own library:
//
//	olm MANIFESTS_FOLDER
//
// It prints what is wrong and what is advised against, and fails if anything is wrong.
package main

import (
	"fmt"
	"os"

	"github.com/operator-framework/api/pkg/manifests"
	"github.com/operator-framework/api/pkg/validation"
)

func main() {
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(folder string) error {
	bundle, err := manifests.GetBundleFromDir(folder)
	if err != nil {
		return fmt.Errorf("failed to read the bundle in %s: %w", folder, err)
	}
	wrong := 0
	for _, result := range validation.DefaultBundleValidators.Validate(bundle.ObjectsToValidate()...) {
		for _, warning := range result.Warnings {
			fmt.Printf("%s: warning: %s\n", result.Name, warning.Error())
		}
		for _, failure := range result.Errors {
			fmt.Printf("%s: %s\n", result.Name, failure.Error())
			wrong++
		}
	}
	if wrong > 0 {
		return fmt.Errorf("the bundle has %d errors", wrong)
	}
	return nil
}
