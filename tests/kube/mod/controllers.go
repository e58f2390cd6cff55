// SPDX-License-Identifier: Apache-2.0
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/controller-manager/pkg/informerfactory"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/controller/endpoint"
	"k8s.io/kubernetes/pkg/controller/endpointslice"
	"k8s.io/kubernetes/pkg/controller/endpointslicemirroring"
	"k8s.io/kubernetes/pkg/controller/garbagecollector"
	"k8s.io/kubernetes/pkg/controller/serviceaccount"
)

const (
	clientRate        = 500 // requests a second; kube-controller-manager's own 20 would be what the tests measure
	workersEach       = 5
	mirroredEndpoints = 1000
)

// runControllers runs those controllers of kube-controller-manager that endpoints depend on. The whole manager would
// draw in the kubelet and cadvisor; these five are already among the API server's own dependencies.
func runControllers(args []string) int {
	flags := flag.NewFlagSet("kube-controllers", flag.ExitOnError)
	kubeconfig := flags.String("kubeconfig", "", "path of the kubeconfig to work with")
	sliceSize := flags.Int("max-endpoints-per-slice", 100, "as in kube-controller-manager")
	_ = flags.Parse(args) // ExitOnError
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err == nil {
		config.QPS, config.Burst = clientRate, 2*clientRate
		err = start(ctx, config, int32(*sliceSize))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "kube-controllers:", err)
		return 1
	}
	<-ctx.Done()
	return 0
}

func start(ctx context.Context, config *rest.Config, sliceSize int32) error {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	meta, err := metadata.NewForConfig(config)
	if err != nil {
		return err
	}
	shared := informers.NewSharedInformerFactory(client, 0)
	core, slices := shared.Core().V1(), shared.Discovery().V1().EndpointSlices()

	// A batch period of 0 is the default of the real manager too: every change is written at once.
	toSlices := endpointslice.NewController(ctx, core.Pods(), core.Services(), core.Nodes(), slices, sliceSize, client, 0)
	toEndpoints := endpoint.NewEndpointController(ctx, core.Pods(), core.Services(), core.Endpoints(), client, 0)
	mirror := endpointslicemirroring.NewController(ctx, core.Endpoints(), slices, core.Services(), mirroredEndpoints, client, 0)
	// Without a "default" account in its namespace the API server admits no pod.
	accounts, err := serviceaccount.NewServiceAccountsController(klog.Background(), core.ServiceAccounts(), core.Namespaces(),
		client, serviceaccount.DefaultServiceAccountsControllerOptions())
	if err != nil {
		return err
	}
	// Deleting a Service removes its slices only through the collector, by their owner references.
	all := informerfactory.NewInformerFactory(shared, metadatainformer.NewSharedInformerFactory(meta, 0))
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(client.Discovery()))
	started := make(chan struct{})
	collector, err := garbagecollector.NewGarbageCollector(ctx, client, meta, mapper,
		garbagecollector.DefaultIgnoredResources(), all, started)
	if err != nil {
		return err
	}
	all.Start(ctx.Done())
	close(started)
	go toSlices.Run(ctx, workersEach)
	go toEndpoints.Run(ctx, workersEach)
	go mirror.Run(ctx, workersEach)
	go accounts.Run(ctx, 1)
	go collector.Run(ctx, workersEach, 10*time.Second)
	go collector.Sync(ctx, client.Discovery(), 30*time.Second)
	return nil
}
