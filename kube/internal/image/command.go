package image

import (
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// Command is `holdfast-kube image`.
func Command() *cobra.Command {
	c := &cobra.Command{Use: "image", Short: "Make container images without a registry"}
	c.AddCommand(buildCommand(), listCommand())
	return c
}

func buildCommand() *cobra.Command {
	o := Options{}
	c := &cobra.Command{
		Use:   "build",
		Short: "Make the OCI archives that are missing or out of date",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			o.Log = func(format string, args ...any) { fmt.Fprintf(c.OutOrStdout(), format+"\n", args...) }
			return Build(c.Context(), o)
		},
	}
	f := c.Flags()
	f.StringVar(&o.Out, "out", "bin/images", "folder of the archives")
	f.StringVar(&o.Bin, "bin", "bin", "folder of this project's programs")
	f.StringVar(&o.Packages, "packages", "bin/packages/root", "root of the unpacked Debian packages")
	f.StringVar(&o.Source, "source", "kube",
		"folder of the kube module, from which pause and coredns are built (empty: take them from --bin as they are)")
	f.StringSliceVar(&o.Only, "only", nil, "names of the images to make (all)")
	return c
}

func listCommand() *cobra.Command {
	var out string
	c := &cobra.Command{
		Use:   "list",
		Short: "List the images in the archives",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return list(c.OutOrStdout(), out) },
	}
	c.Flags().StringVar(&out, "out", "bin/images", "folder of the archives")
	return c
}

func list(w io.Writer, dir string) error {
	archives, err := Archives(dir)
	if err != nil {
		return err
	}
	if len(archives) == 0 {
		return fmt.Errorf("no image archive in %s; make them with `holdfast-kube image build`", dir)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "IMAGE\tDIGEST\tARCHIVE")
	for _, a := range archives {
		refs, err := Refs(a)
		if err != nil {
			return err
		}
		var names []string
		for name := range refs {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			fmt.Fprintf(t, "%s\t%s\t%s\n", name, refs[name][:19], a)
		}
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("print the table: %w", err)
	}
	return nil
}

// Archives lists the image archives of a folder by their absolute paths.
func Archives(dir string) ([]string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", dir, err)
	}
	archives, err := filepath.Glob(filepath.Join(abs, "*.tar"))
	if err != nil {
		return nil, fmt.Errorf("look for archives in %s: %w", abs, err)
	}
	return archives, nil
}
