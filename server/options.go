package server

import (
	"cmp"
	"log/slog"
	"math"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/vkbert/vkbert"
)

// Model is a model to serve.
type Model struct {
	Name    string          // what requests call it; "" is the same as Path. Path works as a name too
	Path    string          // as for vkbert.Open: an id, a directory, the path of a model.safetensors
	Options []vkbert.Option // device, dtype, …
}

// Options of a [Server]. The zero value has the defaults that the fields tell; a negative limit is none.
//
// What the server holds is bounded by them: of a request its body until it is decoded, then its texts and token ids (together at most five times the body, or
// MaxTokens), and its results, four bytes a number. MaxBufferedBytes counts bodies and results until the request has ended.
// Where the tokenizer library encodes (every model but those of BERT's WordPiece), it takes two to six hundred bytes for each byte of a text: of one text over 256 KiB at a time in the whole process,
// and of 2 MiB of those over 4 KiB.
type Options struct {
	MaxConcurrent    int           // requests at work, beyond which there is a 429; 512
	MaxBodyBytes     int64         // of a request, beyond which there is a 413; 2 MiB
	MaxBufferedBytes int64         // of the bodies and results of all requests at work, beyond which there is a 429, or a 413 for one that is over it alone; 256 MiB, or twice MaxBodyBytes if that is more
	MaxInputs        int           // texts of a request, beyond which there is a 413; 2048
	MaxTokens        int           // of a request, after truncation, beyond which there is a 413; 1,048,576
	MaxQueuedTokens  int           // of the requests at work by one model, beyond which there is a 429; 1,048,576. For a request of up to a quarter of a batch only such requests count: the others do not hold it up. What finds nothing ahead of it is let in
	MaxQueueTime     time.Duration // that these tokens are expected to take, beyond which there is a 429; half of RequestTimeout, or 30 s
	RequestTimeout   time.Duration // from the request's header to its response, after which there is a 504; 60 s
	NoTruncation     bool          // a text over the model's limit is an error, unless the request says otherwise. OpenAI's interface has no such parameter

	KeepAlive time.Duration // how long a model that nobody uses stays loaded, where a request does not say (Ollama's keep_alive); 0 is for ever

	ReadHeaderTimeout time.Duration // 5 s
	ReadTimeout       time.Duration // of header and body; 30 s
	WriteTimeout      time.Duration // for the client to take the response, after ReadTimeout and RequestTimeout: beyond the three a connection is cut; 60 s
	IdleTimeout       time.Duration // of a connection between requests; 120 s
	ShutdownTimeout   time.Duration // how long Serve waits for the requests at work when it is to end; 30 s

	APIKeys     []string     // one of them must come as "Authorization: Bearer KEY", but for /health, /ping, /.well-known and the page; none: everything is open
	CORSOrigins []string     // origins whose pages may call; "*" is any; none: no headers of CORS
	Page        http.Handler // for GET / and what is below /page/; nil: a line of text

	Version        string               // told by /info, /api/status and /metrics
	Logger         *slog.Logger         // a line a request, without texts; nil: none
	TracerProvider trace.TracerProvider // nil: that of package otel, which drops spans unless the program sets one
}

func (o Options) withDefaults() Options {
	o.MaxConcurrent = cmp.Or(o.MaxConcurrent, 512)
	o.MaxBodyBytes = cmp.Or(o.MaxBodyBytes, 2<<20)
	o.MaxBufferedBytes = cmp.Or(o.MaxBufferedBytes, max(256<<20, 2*min(o.MaxBodyBytes, math.MaxInt64/2)))
	o.MaxInputs = cmp.Or(o.MaxInputs, 2048)
	o.MaxTokens = cmp.Or(o.MaxTokens, 1<<20)
	o.MaxQueuedTokens = cmp.Or(o.MaxQueuedTokens, 1<<20)
	o.RequestTimeout = cmp.Or(o.RequestTimeout, time.Minute)
	o.MaxQueueTime = cmp.Or(o.MaxQueueTime, max(o.RequestTimeout, 0)/2, 30*time.Second)
	o.ReadHeaderTimeout = cmp.Or(o.ReadHeaderTimeout, 5*time.Second)
	o.ReadTimeout = cmp.Or(o.ReadTimeout, 30*time.Second)
	o.WriteTimeout = cmp.Or(o.WriteTimeout, time.Minute)
	o.IdleTimeout = cmp.Or(o.IdleTimeout, 2*time.Minute)
	o.ShutdownTimeout = cmp.Or(o.ShutdownTimeout, 30*time.Second)
	o.Version = cmp.Or(o.Version, "(unknown)")
	if o.KeepAlive == 0 {
		o.KeepAlive = forever
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// forever is the keep-alive of a model that stays loaded.
const forever time.Duration = -1

// over says whether n is over a limit.
func over[T int | int64 | time.Duration](n, limit T) bool { return limit >= 0 && n > limit }
