// SPDX-License-Identifier: Apache-2.0
// One binary for a whole test cluster: it is etcd, kube-apiserver or kube-controllers, by the name it is called with.
// One binary because the three share most of their packages: linked apart they take three times the disk and the link time.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
)

func main() {
	switch name := filepath.Base(os.Args[0]); name {
	case "etcd":
		etcdmain.Main(os.Args)
	case "kube-apiserver":
		os.Exit(cli.Run(apiserver.NewAPIServerCommand()))
	case "kube-controllers":
		os.Exit(runControllers(os.Args[1:]))
	default:
		fmt.Fprintf(os.Stderr, "%s: call it by a link named etcd, kube-apiserver or kube-controllers\n", name)
		os.Exit(2)
	}
}
