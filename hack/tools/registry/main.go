// A registry for images and charts that a release is rehearsed with: in memory, for one user, until it is told to end.
package main

import (
	"crypto/subtle"
	"fmt"
	"net/http"
	"os"

	"github.com/google/go-containerregistry/pkg/registry"
)

// version is part of the file's name in the cache: change it with the program.
const version = "1"

func main() {
	if len(os.Args) == 2 && os.Args[1] == "--version" {
		fmt.Println("registry", version)
		return
	}
	// The folder, which is the second argument, only tells one such process from another.
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: REGISTRY_USER=USER REGISTRY_PASSWORD=PASSWORD registry ADDRESS FOLDER")
		os.Exit(2)
	}
	user, password := os.Getenv("REGISTRY_USER"), os.Getenv("REGISTRY_PASSWORD")
	inner := registry.New(registry.WithReferrersSupport(true))
	fmt.Fprintln(os.Stderr, http.ListenAndServe(os.Args[1], guarded(inner, user, password)))
	os.Exit(1)
}

// guarded lets only that user in.
func guarded(inner http.Handler, user, password string) http.Handler {
	return http.HandlerFunc(func(answer http.ResponseWriter, request *http.Request) {
		givenUser, givenPassword, _ := request.BasicAuth()
		if subtle.ConstantTimeCompare([]byte(givenUser+":"+givenPassword), []byte(user+":"+password)) != 1 {
			answer.Header().Set("WWW-Authenticate", `Basic realm="rehearsal"`)
			http.Error(answer, `{"errors":[{"code":"UNAUTHORIZED"}]}`, http.StatusUnauthorized)
			return
		}
		inner.ServeHTTP(answer, request)
	})
}
