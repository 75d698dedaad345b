// Command vkbert makes sentence embeddings on the command line: "vkbert --help" lists what it does.
//
// Results go to standard output, messages and progress to standard error. The exit status is 0; 1 for a failure, told in one line; 2 for wrong usage.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	signal.Ignore(syscall.SIGPIPE) // a reader that goes away is an error of the write, and ends the command as any other does
	ends := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // as nohup has it
		ends = append(ends, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), ends...)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process at once
	os.Exit(execute(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// Exit statuses.
const (
	exitDone = iota
	exitFailed
	exitUsage
)

// execute runs the command with these arguments and returns its exit status.
func execute(ctx context.Context, args []string, in io.Reader, out, messages io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(results{out})
	root.SetErr(messages)
	cmd, err := root.ExecuteContextC(ctx)
	status, line := verdict(ctx, cmd, err)
	if line != "" {
		fmt.Fprintln(messages, "vkbert: "+strings.TrimPrefix(line, "vkbert: "))
	}
	return status
}

// verdict returns the exit status for an error, and the one line to say about it.
func verdict(ctx context.Context, cmd *cobra.Command, err error) (status int, line string) {
	var failed failure
	switch {
	case err == nil:
		return exitDone, ""
	case errors.Is(err, errReaderGone):
		return exitFailed, ""
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		return exitFailed, "interrupted"
	case errors.As(err, &failed):
		return exitFailed, oneLine(err.Error())
	}
	return exitUsage, fmt.Sprintf("%s; see \"%s --help\"", oneLine(err.Error()), cmd.CommandPath())
}

// oneLine joins the lines of a message.
func oneLine(s string) string {
	lines := strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' })
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return strings.Join(lines, "; ")
}

// failure is an error of a command that was rightly used. All other errors, those of the argument library among them, are wrong usage.
type failure struct{ error }

func (f failure) Unwrap() error { return f.error }

// usageError is wrong usage that is found while a command runs.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// run makes a command's function of one whose errors are failures.
func run(f func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		err := f(cmd, args)
		if err == nil || errors.As(err, &usageError{}) {
			return err
		}
		return failure{err}
	}
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "vkbert",
		Short: "Sentence embeddings on any GPU through Vulkan, or on the CPU",
		Long: `vkbert makes the sentence embeddings that sentence-transformers makes, on any GPU through Vulkan, or on the CPU.

MODEL is a Hugging Face id that is in the cache ("vkbert download ID" puts it there), a model directory, or the path of a
model.safetensors. Results go to standard output, messages to standard error. The exit status is 0; 1 for a failure, told in one
line; 2 for wrong usage.`,
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,

		DisableSuggestions: true, // an error is one line
	}
	root.AddCommand(embedCommand(), similarityCommand(), rerankCommand(), tokenizeCommand(), verifyCommand(), infoCommand(), devicesCommand(), benchCommand(), downloadCommand(), modelsCommand(), convertCommand(), serveCommand(), indexCommand(), searchCommand())
	return root
}

// version is that of the module that the command was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(unknown)"
	}
	return info.Main.Version
}
