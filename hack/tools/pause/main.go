// The first process of each pod on the bed's node: holds the pod's namespaces until it is told to end.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// version is part of the file's name in the cache: change it with the program.
const version = "1"

func main() {
	if len(os.Args) == 2 && os.Args[1] == "--version" {
		fmt.Println("pause", version)
		return
	}
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGINT, syscall.SIGTERM)
	<-end
}
