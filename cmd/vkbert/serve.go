package main

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/vkbert/vkbert"
	"github.com/vkbert/vkbert/server"
	"github.com/vkbert/vkbert/server/page"
)

// apiKeyVariable holds API keys, with commas between them.
const apiKeyVariable = "VKBERT_API_KEY"

// serveFlags are those of serve alone.
type serveFlags struct {
	models                []string
	addr, keyFile         string
	certificate, key      string
	logFormat             *choice
	logLevel              *choice
	maxConcurrent, inputs int
	tokens, queued        int
	bodyBytes             int64
	noPage                bool
	options               server.Options
}

func serveCommand() *cobra.Command {
	var model modelFlags
	f := serveFlags{logFormat: newChoice("text", "json"), logLevel: newChoice("info", "debug", "warn", "error")}
	cmd := &cobra.Command{
		Use:   "serve -m MODEL[=ALIAS]...",
		Short: "Answer the HTTP interfaces of OpenAI, Text Embeddings Inference, Ollama and Weaviate",
		Long: `Answer over HTTP what clients of OpenAI, Text Embeddings Inference, Ollama and Weaviate ask for. The address is printed when all models are
loaded. SIGTERM ends it: requests at work finish, new ones get a 503, and the exit status is 0. API keys are the lines of
--api-key-file, or in the environment variable VKBERT_API_KEY with commas between them; without one, everybody who reaches the
address may ask. Traces go by OTLP over HTTP to where OTEL_EXPORTER_OTLP_ENDPOINT says.

A model is -m MODEL[@REVISION][=ALIAS][@DEVICE]: requests know it as ALIAS, and it is on a device of its own. What follows an @ is a device if it is auto, cpu,
reference, vulkan, vulkan:N or vulkan:NAME, or a list of these with commas; else it is a revision, as of vkbert download. A path may have = and @ in it: as
much of it is taken as exists.`,
		Example: `  vkbert serve -m sentence-transformers/all-MiniLM-L6-v2=minilm -m cross-encoder/ms-marco-MiniLM-L6-v2=rerank@cpu`,
		Args:    cobra.NoArgs,
	}
	cmd.RunE = run(func(cmd *cobra.Command, _ []string) error { return f.serve(cmd, &model) })
	flags := cmd.Flags()
	flags.StringArrayVarP(&f.models, "model", "m", nil, "model to serve, of an id with @REVISION that revision, with =ALIAS under another name, with @DEVICE on a device of its own; may be repeated")
	cmd.MarkFlagRequired("model") //nolint:errcheck // the flag is there
	flags.StringVar(&f.addr, "addr", "127.0.0.1:8080", "address to listen on; port 0 is any that is free")
	flags.StringVar(&f.keyFile, "api-key-file", "", "file with an API key a line")
	flags.StringVar(&f.certificate, "tls-cert", "", "certificate chain (PEM); with --tls-key, HTTPS is spoken, HTTP/2 too")
	flags.StringVar(&f.key, "tls-key", "", "private key of the certificate (PEM)")
	flags.StringSliceVar(&f.options.CORSOrigins, "cors-origin", nil, `origins whose pages may call, or "*"; none by default`)
	flags.IntVar(&f.maxConcurrent, "max-concurrent", 512, "requests at work, beyond which there is a 429")
	flags.IntVar(&model.batchTokens, "max-batch-tokens", 0, "tokens that a device works on at a time; 0 goes by the kind of device")
	flags.IntVar(&f.inputs, "max-inputs", 2048, "texts of a request, beyond which there is a 413")
	flags.IntVar(&f.tokens, "max-tokens", 1<<20, "tokens of a request, beyond which there is a 413")
	flags.IntVar(&f.queued, "max-queued-tokens", 1<<20, "tokens of the requests at work by a model, beyond which there is a 429")
	flags.Int64Var(&f.bodyBytes, "max-body-bytes", 2<<20, "bytes of a request, beyond which there is a 413")
	flags.DurationVar(&f.options.MaxQueueTime, "max-queue-time", 0, "that the requests at work by a model are expected to take, beyond which there is a 429; 0 is half of --request-timeout")
	flags.DurationVar(&f.options.RequestTimeout, "request-timeout", time.Minute, "for a request to be answered")
	flags.DurationVar(&f.options.ShutdownTimeout, "shutdown-timeout", 30*time.Second, "for the requests at work to finish after SIGTERM")
	flags.DurationVar(&f.options.KeepAlive, "keep-alive", 0, "unload a model that nobody used for so long; 0 is never")
	flags.BoolVar(&f.noPage, "no-page", false, "no page at /")
	f.logFormat.add(cmd, "log-format", "form of the log on standard error: text or json")
	f.logLevel.add(cmd, "log-level", "least level that is logged: info (a line a request), debug, warn or error")
	model.addTruncation(cmd)
	flags.StringVar(&model.device, "device", "auto", `auto, cpu, vulkan:N or vulkan:NAME ("vkbert devices" lists them)`)
	flags.StringVar(&model.dtype, "dtype", "auto", "weights on the device: auto, f32, f16 or int8")
	complete(cmd, "device", "auto", "cpu", "vulkan", "vulkan:0")
	complete(cmd, "dtype", "auto", "f32", "f16", "int8")
	return cmd
}

func (f *serveFlags) serve(cmd *cobra.Command, model *modelFlags) (err error) {
	for _, n := range []struct {
		flag  string
		value int64
	}{{"max-concurrent", int64(f.maxConcurrent)}, {"max-inputs", int64(f.inputs)}, {"max-tokens", int64(f.tokens)}, {"max-queued-tokens", int64(f.queued)}, {"max-body-bytes", f.bodyBytes}} {
		if n.value < 1 {
			return usagef("--%s %d: want 1 or more", n.flag, n.value)
		}
	}
	if f.options.RequestTimeout <= 0 || f.options.ShutdownTimeout <= 0 || f.options.KeepAlive < 0 || f.options.MaxQueueTime < 0 {
		return usagef("--request-timeout and --shutdown-timeout: want more than 0, --keep-alive and --max-queue-time: 0 or more")
	}
	if (f.certificate == "") != (f.key == "") {
		return usagef("--tls-cert and --tls-key go together")
	}
	o := f.options
	o.MaxConcurrent, o.MaxInputs, o.MaxTokens, o.MaxQueuedTokens, o.MaxBodyBytes = f.maxConcurrent, f.inputs, f.tokens, f.queued, f.bodyBytes
	o.NoTruncation, o.Version, o.Logger = model.noTruncate, version(), f.logger(cmd)
	if o.APIKeys, err = f.keys(); err != nil {
		return err
	}
	if !f.noPage {
		o.Page = page.Handler()
	}
	var models []server.Model
	for _, spec := range f.models {
		one := *model
		m := server.Model{}
		if m.Path, m.Name, one.device, err = parseServed(spec, model.device); err != nil {
			return err
		}
		opts, err := one.options(cmd)
		if err != nil {
			return err
		}
		m.Options = append(opts, vkbert.WithTruncation(true), vkbert.WithLogger(o.Logger))
		models = append(models, m)
	}
	traces, err := tracerProvider(cmd.Context(), o.Logger)
	if err != nil {
		return err
	}
	if traces != nil {
		o.TracerProvider = traces
		defer flush(traces, o.Logger)
	}
	s, err := server.New(models, o)
	if err != nil {
		return usageError{err}
	}
	defer s.Close()
	l, scheme, err := f.listen()
	if err != nil {
		return err
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(cmd.Context(), l) }() // /health says "loading" meanwhile
	if err := s.Load(cmd.Context()); err != nil {
		l.Close()
		<-served
		if cmd.Context().Err() != nil {
			return nil
		}
		return err
	}
	if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%s://%s\n", scheme, l.Addr()); err != nil {
		l.Close()
		<-served
		return err
	}
	return <-served
}

// parseServed takes MODEL[@REVISION][=ALIAS][@DEVICE] apart. path is MODEL[@REVISION], as vkbert.Open takes it.
func parseServed(spec, device string) (path, name, on string, err error) {
	path, rest := cutModel(spec)
	wrong := usagef("-m %s: want MODEL[@REVISION][=ALIAS][@DEVICE]", spec)
	if path == "" {
		return "", "", "", wrong
	}
	revision := ""
	for rest != "" {
		sign, part := rest[0], rest[1:]
		rest = ""
		if i := strings.IndexAny(part, "=@"); i >= 0 {
			part, rest = part[:i], part[i:]
		}
		switch {
		case sign == '=' && part == "":
			return "", "", "", usagef("-m %s: the alias is empty", spec)
		case sign == '=' && name == "":
			name = part
		case sign == '@' && isDevice(part) && on == "":
			on = part
		case sign == '@' && !isDevice(part) && part != "" && revision == "":
			revision = "@" + part
		default:
			return "", "", "", wrong
		}
	}
	if strings.HasPrefix(path, "random:") {
		return "", "", "", usagef("-m %s: random weights come without a tokenizer and are for bench and info alone", spec)
	}
	return path + revision, name, cmp.Or(on, device), nil
}

// cutModel cuts MODEL off. Since a path may have = and @ in it, as much is taken as exists; of a path that does not, all up to its last name.
func cutModel(spec string) (model, rest string) {
	for i := len(spec); i > 0; i = strings.LastIndexAny(spec[:i], "=@") {
		if _, err := os.Stat(spec[:i]); err == nil {
			return spec[:i], spec[i:]
		}
	}
	last := 0
	if filepath.IsAbs(spec) || strings.HasPrefix(spec, ".") {
		last = strings.LastIndexByte(spec, '/') + 1
	}
	if i := strings.IndexAny(spec[last:], "=@"); i >= 0 {
		return spec[:last+i], spec[last+i:]
	}
	return spec, ""
}

// isDevice says whether a text is what --device takes, or a list of that with commas, and not a revision.
func isDevice(s string) bool {
	for one := range strings.SplitSeq(s, ",") {
		if !slices.Contains([]string{"auto", "cpu", "reference", "vulkan"}, one) && !strings.HasPrefix(one, "vulkan:") {
			return false
		}
	}
	return true
}

// keys reads the API keys.
func (f *serveFlags) keys() ([]string, error) {
	text, from := strings.ReplaceAll(os.Getenv(apiKeyVariable), ",", "\n"), apiKeyVariable
	if f.keyFile != "" {
		data, err := os.ReadFile(f.keyFile)
		if err != nil {
			return nil, err
		}
		text, from = string(data), f.keyFile
	} else if text == "" {
		return nil, nil
	}
	var keys []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			keys = append(keys, line)
		}
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s: no API key in it", from)
	}
	return keys, nil
}

func (f *serveFlags) listen() (net.Listener, string, error) {
	if f.certificate == "" {
		l, err := net.Listen("tcp", f.addr)
		return l, "http", err
	}
	pair, err := tls.LoadX509KeyPair(f.certificate, f.key)
	if err != nil {
		return nil, "", fmt.Errorf("--tls-cert %s --tls-key %s: %w", f.certificate, f.key, err)
	}
	l, err := tls.Listen("tcp", f.addr, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}})
	return l, "https", err
}

func (f *serveFlags) logger(cmd *cobra.Command) *slog.Logger {
	var level slog.Level
	if level.UnmarshalText(bytes.ToUpper([]byte(f.logLevel.value))) != nil {
		level = slog.LevelInfo
	}
	options := &slog.HandlerOptions{Level: level}
	if f.logFormat.value == "json" {
		return slog.New(slog.NewJSONHandler(cmd.ErrOrStderr(), options))
	}
	return slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), options))
}
