package hub

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// client speaks the Hub's HTTP API: https://huggingface.co/docs/hub/api.
type client struct {
	endpoint     *url.URL
	http         *http.Client
	token        bool // there is one
	reached      bool // some server has answered: what fails later is worth another attempt
	pause, stall time.Duration
}

const (
	attempts = 4        // at a file without a byte of it arriving, before giving up
	maxList  = 32 << 20 // bytes of the Hub's answer
)

// auth adds the token to requests to the endpoint itself and to no other: redirects lead to storage elsewhere.
type auth struct {
	next     http.RoundTripper
	endpoint *url.URL
	token    string
}

func (a auth) RoundTrip(r *http.Request) (*http.Response, error) {
	if a.token != "" && r.URL.Scheme == a.endpoint.Scheme && r.URL.Host == a.endpoint.Host {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Bearer "+a.token)
	}
	return a.next.RoundTrip(r)
}

// transient marks an error that another attempt may not meet.
type transient struct{ error }

func (t transient) Unwrap() error { return t.error }

var errStalled = errors.New("no data for too long")

// body is an answer whose reads end when nothing arrives for too long, and whose errors are transient.
type body struct {
	*http.Response
	host     string
	cause    func() error
	watchdog *time.Timer
	stall    time.Duration
	cancel   context.CancelCauseFunc
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.Body.Read(p)
	b.watchdog.Reset(b.stall)
	if err != nil && !errors.Is(err, io.EOF) {
		if cause := b.cause(); cause != nil {
			err = cause
		}
		err = transient{unreachable(b.host, err)}
	}
	return n, err
}

func (b *body) Close() {
	b.watchdog.Stop()
	b.cancel(nil)
	b.Body.Close()
}

// get asks for a URL from byte offset on. The caller closes the answer, whose status is 200 or 206.
func (c *client) get(ctx context.Context, source *url.URL, offset int64) (*body, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	watchdog := time.AfterFunc(c.stall, func() { cancel(errStalled) })
	give := func(err error) (*body, error) {
		watchdog.Stop()
		cancel(nil)
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, source.String(), nil)
	if err != nil {
		return give(err)
	}
	r.Header.Set("User-Agent", "vkbert")
	r.Header.Set("Accept-Encoding", "identity") // sizes are those of the files
	if offset > 0 {
		r.Header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	response, err := c.http.Do(r) //nolint:bodyclose // body.Close does
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		host := source.Host
		if failed := (*url.Error)(nil); errors.As(err, &failed) {
			if u, e := url.Parse(failed.URL); e == nil {
				host = u.Host
			}
			err = failed.Err // without the URL, which may hold a signature
		}
		err = unreachable(host, err)
		if c.reached {
			err = transient{err}
		}
		return give(err)
	}
	c.reached = true
	b := &body{Response: response, host: response.Request.URL.Host, cause: func() error { return context.Cause(ctx) }, watchdog: watchdog, stall: c.stall, cancel: cancel}
	if response.StatusCode != http.StatusOK && response.StatusCode != http.StatusPartialContent {
		b.Close()
		return nil, c.refusal(response)
	}
	return b, nil
}

func unreachable(host string, err error) error {
	return fmt.Errorf("%w: %s: %w; check the network, the proxy and HF_ENDPOINT", ErrUnreachable, host, err)
}

// refusal explains a status. The Hub says 401 for a model that does not exist too, so as not to tell who asks which private models there are.
func (c *client) refusal(r *http.Response) error {
	host, code, message := r.Request.URL.Host, r.Header.Get("X-Error-Code"), r.Header.Get("X-Error-Message")
	switch {
	case code == "GatedRepo":
		return fmt.Errorf("%w: the model is gated: accept its terms on its page at %s, and set HF_TOKEN to a token of that account", ErrDenied, c.endpoint)
	case code == "RevisionNotFound":
		return fmt.Errorf("%w: the model has no such revision; leave it out for main", ErrNotFound)
	case r.StatusCode == http.StatusTooManyRequests || r.StatusCode >= 500:
		return transient{fmt.Errorf("%w: %s answers %s; try again later", ErrUnreachable, host, r.Status)}
	case r.StatusCode == http.StatusUnauthorized && c.token:
		return fmt.Errorf("%w: %s answers %s: no such model, or the token (HF_TOKEN) is not valid or has no access to it", ErrDenied, host, r.Status)
	case code == "RepoNotFound" || r.StatusCode == http.StatusUnauthorized:
		return fmt.Errorf("%w: no such model; if it is private, set HF_TOKEN", ErrNotFound)
	case r.StatusCode == http.StatusNotFound:
		return fmt.Errorf("%w: %s answers %s", ErrNotFound, host, r.Status)
	case r.StatusCode == http.StatusForbidden:
		return fmt.Errorf("%w: %s answers %s %s", ErrDenied, host, r.Status, message)
	}
	return fmt.Errorf("%w: %s answers %s %s", ErrUnreachable, host, r.Status, message)
}

// list returns the commit of a revision and its files.
func (c *client) list(ctx context.Context, id, revision string) (sha string, files []file, err error) {
	source := c.endpoint.JoinPath(append(append([]string{"api", "models"}, strings.Split(id, "/")...), "revision", url.PathEscape(revision))...)
	source.RawQuery = "blobs=true" // with sizes and hashes
	var answer struct {
		SHA      string    `json:"sha"`
		Siblings []sibling `json:"siblings"`
	}
	err = c.retry(ctx, func() (bool, error) {
		b, err := c.get(ctx, source, 0)
		if err != nil {
			return false, err
		}
		defer b.Close()
		data, err := io.ReadAll(io.LimitReader(b, maxList+1))
		if err != nil {
			return false, err
		}
		if len(data) > maxList {
			return false, fmt.Errorf("%w: the list of files of %s is over %d bytes", ErrDamaged, b.host, maxList)
		}
		if err := json.Unmarshal(data, &answer); err != nil {
			return false, fmt.Errorf("%w: the list of files of %s: %w", ErrDamaged, b.host, err)
		}
		return true, nil
	})
	if err != nil {
		return "", nil, err
	}
	if !isHex(answer.SHA, 40) {
		return "", nil, fmt.Errorf("%w: the list of files of %s: want a commit of 40 hex digits, got %.60q", ErrDamaged, c.endpoint.Host, answer.SHA)
	}
	files, err = listedFiles(answer.Siblings)
	return answer.SHA, files, err
}

func isHex(s string, length int) bool {
	_, err := hex.DecodeString(s)
	return err == nil && len(s) == length
}

// retry calls try until it succeeds, fails for good, or fails several times in a row without getting further.
func (c *client) retry(ctx context.Context, try func() (further bool, err error)) error {
	for failures := 0; ; {
		further, err := try()
		if err == nil || !errors.As(err, &transient{}) {
			return err
		}
		if further {
			failures = 0
		}
		if failures++; failures == attempts {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Duration(failures) * c.pause):
		}
	}
}

// fetch writes what is missing of a file to out, and checks all of it. A connection that breaks is taken up again where it broke; what out held before and turns
// out to be something else comes again.
func (c *client) fetch(ctx context.Context, source *url.URL, f file, out *os.File, progress func(int64)) error {
	t := transfer{client: c, source: source, file: f, out: out, progress: progress}
	if err := t.takeUp(); err != nil {
		return err
	}
	before := t.have
	err := t.complete(ctx)
	if err == nil || before == 0 || !errors.Is(err, ErrDamaged) {
		return err
	}
	if err := t.restart(); err != nil {
		return err
	}
	return t.complete(ctx)
}

// transfer is a file on its way.
type transfer struct {
	*client
	source   *url.URL
	file     file
	out      *os.File
	sum      hash.Hash // of what is there
	have     int64
	progress func(int64)
}

// takeUp reads what out holds already.
func (t *transfer) takeUp() error {
	t.sum = t.file.hash()
	info, err := t.out.Stat()
	if err != nil {
		return err
	}
	if info.Size() > t.file.size {
		return t.out.Truncate(0)
	}
	t.have, err = io.Copy(t.sum, t.out)
	t.progress(t.have)
	return err
}

// complete gets what is missing and checks the whole.
func (t *transfer) complete(ctx context.Context) error {
	most := t.have // that was ever there
	err := t.retry(ctx, func() (bool, error) {
		if t.have == t.file.size && t.have > 0 { // nothing is missing but the check
			return true, nil
		}
		err := t.more(ctx)
		further := t.have > most
		most = max(most, t.have)
		return further, err
	})
	if err != nil {
		return err
	}
	if got := hex.EncodeToString(t.sum.Sum(nil)); got != t.file.etag {
		return fmt.Errorf("%w: hash %s, want %s; try again", ErrDamaged, got, t.file.etag)
	}
	return nil
}

// more asks for what is missing and takes what comes of it.
func (t *transfer) more(ctx context.Context) error {
	b, err := t.get(ctx, t.source, t.have)
	if err != nil {
		return err
	}
	defer b.Close()
	if b.StatusCode == http.StatusPartialContent {
		if got, want := b.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-%d/%d", t.have, t.file.size-1, t.file.size); got != want {
			return fmt.Errorf("%w: %s sends the range %q, want %q", ErrDamaged, b.host, got, want)
		}
	} else if err := t.restart(); err != nil {
		return err
	}
	buffer := make([]byte, 256<<10)
	for {
		n, err := b.Read(buffer)
		if t.have+int64(n) > t.file.size {
			return fmt.Errorf("%w: %s sends more than the %d bytes that are listed", ErrDamaged, b.host, t.file.size)
		}
		if _, err := t.out.Write(buffer[:n]); err != nil {
			return err
		}
		t.sum.Write(buffer[:n])
		t.have += int64(n)
		t.progress(int64(n))
		switch {
		case errors.Is(err, io.EOF) && t.have == t.file.size:
			return nil
		case errors.Is(err, io.EOF):
			return transient{unreachable(b.host, fmt.Errorf("the file ends after %d of %d bytes", t.have, t.file.size))}
		case err != nil:
			return err
		}
	}
}

// restart drops what is there: the whole file comes.
func (t *transfer) restart() error {
	if t.have == 0 {
		return nil
	}
	if err := t.out.Truncate(0); err != nil {
		return err
	}
	if _, err := t.out.Seek(0, io.SeekStart); err != nil {
		return err
	}
	t.progress(-t.have)
	t.sum, t.have = t.file.hash(), 0
	return nil
}
