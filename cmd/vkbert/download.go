package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vkbert/vkbert/loader"
	"github.com/vkbert/vkbert/loader/hub"
)

func downloadCommand() *cobra.Command {
	var revision string
	cmd := &cobra.Command{
		Use:   "download ID[@REVISION]",
		Short: "Download a model from the Hugging Face Hub into its cache",
		Long: `Download what a model needs from the Hugging Face Hub into its cache, which Python's libraries share, and print the folder it lies in. What is there
already is not downloaded again, what was broken off goes on where it ended; every file is checked against its hash.

HF_TOKEN gives access to private and gated models; HF_HUB_CACHE or HF_HOME move the cache; HF_ENDPOINT names another Hub. With HF_HUB_OFFLINE=1 no connection is
made: the folder is printed if the model is there. ID@REVISION means the same to the other commands.`,
		Example: `  vkbert download sentence-transformers/all-MiniLM-L6-v2`,
		Args:    cobra.ExactArgs(1),
	}
	cmd.RunE = run(func(cmd *cobra.Command, args []string) error {
		id, after, found := strings.Cut(args[0], "@")
		if found && (revision != "" || after == "") {
			return usagef("%s: want one revision, by ID@REVISION or by --revision", args[0])
		}
		o, err := hub.Environment()
		if err != nil {
			return err
		}
		o.CacheDir, o.Revision = loader.HubCache(), revision+after
		bar := newProgress(cmd, 1, true, id)
		defer bar.end()
		o.Progress = func(done, total int64) {
			bar.setTotal(total)
			bar.set(done)
		}
		dir, err := hub.Download(cmd.Context(), id, o)
		bar.end()
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(cmd.OutOrStdout(), dir)
		return err
	})
	cmd.Flags().StringVar(&revision, "revision", "", "branch, tag or commit; the default is main")
	return cmd
}
