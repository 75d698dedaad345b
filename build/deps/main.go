// Deps makes the one library that vkbert links and the go command cannot build: libtokenizers.a, the Rust half of
// github.com/daulet/tokenizers. It is made once for each version, in the user's cache, and found there afterwards.
//
//	go get -tool github.com/vkbert/vkbert/build/deps
//	export CGO_LDFLAGS="$(go tool deps)"
//
// The value of CGO_LDFLAGS is all that goes to stdout; what is being done goes to stderr. With cargo (Rust 1.82 or newer) on
// the machine the library is built from the source in the Go module itself, with every Rust dependency pinned; without it
// upstream's release archive is downloaded. VKBERT_CACHE moves the cache.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
)

const usage = `usage: deps [-sh] [-n]

Makes libtokenizers.a, once a version, and prints the CGO_LDFLAGS that link it:

  export CGO_LDFLAGS="$(go tool deps)"

`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is main with its surroundings as arguments. It returns the exit status: 0 done, 1 failed, 2 wrong usage.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("deps", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() { fmt.Fprint(stderr, usage); flags.PrintDefaults() }
	sh := flags.Bool("sh", false, "print a shell command to eval instead of the bare value")
	dry := flags.Bool("n", false, "make nothing: say whether the library is there or cargo can build it")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return 2
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(stderr, "deps: unexpected argument %q\n", flags.Arg(0))
		flags.Usage()
		return 2
	}

	b, err := newBuilder(stderr)
	if err != nil {
		fmt.Fprintln(stderr, "deps:", err)
		return 1
	}
	if *dry {
		how, err := b.check(ctx)
		if err != nil {
			fmt.Fprintln(stderr, "deps:", err)
			return 1
		}
		fmt.Fprintf(stderr, "deps: %s: %s\n", archiveName, how)
		return 0
	}
	dir, err := b.library(ctx)
	if err != nil {
		fmt.Fprintln(stderr, "deps:", err)
		return 1
	}
	value := ldflags(os.Getenv("CGO_LDFLAGS"), dir)
	if *sh {
		value = "export CGO_LDFLAGS=" + shellQuote(value)
	}
	fmt.Fprintln(stdout, value)
	return 0
}

// ldflags returns the CGO_LDFLAGS that search dir for libraries, with what CGO_LDFLAGS held before kept in front.
func ldflags(before, dir string) string {
	flag := "-L" + dir
	if strings.ContainsAny(flag, " \t") { // the go command splits the variable at blanks and understands quotes
		flag = "'" + flag + "'"
	}
	before = strings.TrimSpace(before)
	switch {
	case before == "":
		return flag
	case strings.Contains(" "+before+" ", " "+flag+" "):
		return before
	}
	return before + " " + flag
}

// shellQuote returns s as one word of a POSIX shell.
func shellQuote(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
