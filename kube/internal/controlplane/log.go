package controlplane

import (
	"flag"
	"fmt"
	"io"
	"log"
	"os"

	"google.golang.org/grpc/grpclog"
	"k8s.io/klog/v2"
)

// LogTo sends everything the components say to w instead of the terminal, and gives the reason to
// fatal when one of them ends the process.
func LogTo(w io.Writer, fatal func(reason string)) error {
	flags := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(flags)
	for name, value := range map[string]string{
		"logtostderr": "false", "alsologtostderr": "false", "stderrthreshold": "FATAL", "one_output": "true",
	} {
		if err := flags.Set(name, value); err != nil {
			return fmt.Errorf("set up the log: %w", err)
		}
	}
	klog.SetOutput(w)
	klog.OsExit = func(code int) {
		fatal("a component of the control plane gave up")
		os.Exit(code)
	}
	log.SetOutput(w)
	grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, w))
	return nil
}
