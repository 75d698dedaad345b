package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/vkbert/vkbert"
)

// A class is a kind of error, which each interface has its own status and name for.
type class int

const (
	malformed   class = iota // the body is not JSON, not UTF-8, nested too deeply
	encoded                  // the body is compressed
	invalid                  // a field is missing or of another type, or has a value that is not allowed
	dimensions               // no such number of dimensions
	empty                    // no texts, or an empty one
	tooLarge                 // body, texts or tokens over the server's limits
	tooLong                  // a text is longer than the model takes, and truncation is off
	untokenized              // the tokenizer failed
	incapable                // this model does not do that
	noModel                  // no such model
	noRoute
	noMethod
	noKey
	overloaded
	unhealthy // loading, a lost device, shutting down
	timedOut
	failed // the device or the model
	gone   // the client
)

// classes has, for each class: the status of OpenAI, TEI, Ollama and Weaviate; OpenAI's type and code; TEI's error_type.
var classes = [...]struct {
	status     [4]int
	kind, code string
	tei        string
}{
	malformed:   {[4]int{400, 400, 400, 400}, "invalid_request_error", "", "Validation"},
	encoded:     {[4]int{415, 415, 415, 415}, "invalid_request_error", "", "Validation"},
	invalid:     {[4]int{400, 422, 400, 422}, "invalid_request_error", "", "Validation"},
	dimensions:  {[4]int{422, 422, 422, 422}, "invalid_request_error", "", "Validation"},
	empty:       {[4]int{400, 400, 400, 400}, "invalid_request_error", "", "Empty"},
	tooLarge:    {[4]int{413, 413, 413, 413}, "invalid_request_error", "", "Validation"},
	tooLong:     {[4]int{400, 413, 400, 413}, "invalid_request_error", "context_length_exceeded", "Validation"},
	untokenized: {[4]int{400, 422, 400, 422}, "invalid_request_error", "", "Tokenizer"},
	incapable:   {[4]int{400, 424, 400, 422}, "invalid_request_error", "", "Backend"},
	noModel:     {[4]int{404, 404, 404, 404}, "invalid_request_error", "model_not_found", "Validation"},
	noRoute:     {[4]int{404, 404, 404, 404}, "invalid_request_error", "", "Validation"},
	noMethod:    {[4]int{405, 405, 405, 405}, "invalid_request_error", "", "Validation"},
	noKey:       {[4]int{401, 401, 401, 401}, "invalid_request_error", "invalid_api_key", "Validation"},
	overloaded:  {[4]int{429, 429, 429, 429}, "requests", "rate_limit_exceeded", "Overloaded"},
	unhealthy:   {[4]int{503, 503, 503, 503}, "server_error", "service_unavailable", "Unhealthy"},
	timedOut:    {[4]int{504, 504, 504, 504}, "server_error", "timeout", "Backend"},
	failed:      {[4]int{500, 424, 500, 500}, "server_error", "", "Backend"},
	gone:        {[4]int{499, 499, 499, 499}, "server_error", "", "Backend"},
}

// failure is an error as a client is told of it.
type failure struct {
	class   class
	param   string // the field, where one is at fault
	message string
	cause   error
	retry   time.Duration // when to come again, where that is known
}

func (f *failure) Error() string { return f.message }
func (f *failure) Unwrap() error { return f.cause }

func failf(c class, param, format string, args ...any) *failure {
	return &failure{class: c, param: param, message: fmt.Sprintf(format, args...)}
}

// failureOf sorts the errors of the library into classes.
func failureOf(err error) *failure {
	var f *failure
	if errors.As(err, &f) {
		return f
	}
	f = &failure{class: failed, message: err.Error(), cause: err}
	var long *vkbert.TooLongError
	var big *http.MaxBytesError
	switch {
	case errors.As(err, &long):
		f.class, f.message = tooLong, fmt.Sprintf("input %d has %d tokens, and the model takes %d", long.Text, long.Tokens, long.Limit)
	case errors.As(err, &big):
		f.class, f.message = tooLarge, fmt.Sprintf("the body is larger than %d bytes", big.Limit)
	case errors.Is(err, context.DeadlineExceeded):
		f.class, f.message = timedOut, "the request took too long"
	case errors.Is(err, context.Canceled):
		f.class, f.message = gone, "the client closed the request"
	case errors.Is(err, vkbert.ErrUnsupported):
		f.class = incapable
	case errors.Is(err, vkbert.ErrInput):
		f.class = invalid
	case errors.Is(err, vkbert.ErrEncode):
		f.class = untokenized
	case errors.Is(err, vkbert.ErrDeviceLost), errors.Is(err, vkbert.ErrClosed):
		f.class = unhealthy
	}
	return f
}

// An api is the form that errors take.
type api int

const (
	openai api = iota
	tei
	ollama
	weaviate
)

// body is an error in an interface's form.
func (a api) body(f *failure) any {
	switch a {
	case openai:
		class := classes[f.class]
		var e struct {
			Error struct {
				Message string  `json:"message"`
				Type    string  `json:"type"`
				Param   *string `json:"param"`
				Code    *string `json:"code"`
			} `json:"error"`
		}
		e.Error.Message, e.Error.Type = f.message, class.kind
		if f.param != "" {
			e.Error.Param = &f.param
		}
		if class.code != "" {
			e.Error.Code = &class.code
		}
		return e
	case tei:
		return struct {
			Error string `json:"error"`
			Type  string `json:"error_type"`
		}{f.message, classes[f.class].tei}
	}
	return struct {
		Error string `json:"error"`
	}{f.message}
}

func (a api) status(f *failure) int { return classes[f.class].status[a] }
