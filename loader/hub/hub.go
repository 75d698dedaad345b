// Package hub downloads sentence-transformers models from the Hugging Face Hub into the Hub's cache layout, which Python's huggingface_hub shares.
//
// Only the files that a model needs are taken. Each is checked against the size and hash that the Hub lists before it gets its name, and the snapshot
// appears when all of it is there, so that a failed or interrupted download leaves nothing that looks like a model. The token goes to the Hub alone,
// never to the storage that the Hub redirects to.
//
// The package is internal to vkbert in all but name: its API may change between releases.
package hub

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Kinds of error, for errors.Is.
var (
	ErrUnreachable = errors.New("the Hub cannot be reached")
	ErrNotFound    = errors.New("not on the Hub")
	ErrDenied      = errors.New("access denied")
	ErrUnsupported = errors.New("unsupported")
	ErrDamaged     = errors.New("damaged download") // other bytes, or more or fewer, than the Hub lists
	ErrName        = errors.New("invalid name")
	ErrOffline     = errors.New("offline") // and the model is not in the cache
)

// DefaultEndpoint is the Hub itself.
const DefaultEndpoint = "https://huggingface.co"

// Options of [Download].
type Options struct {
	CacheDir string // the folder that holds models--org--name; it is made if it is not there
	Endpoint string // "" = DefaultEndpoint
	Token    string // for private and gated models; "" = none
	Revision string // branch, tag or commit; "" = main
	Offline  bool   // no connection is made: what is in the cache is all there is

	// Progress is told how many of the bytes to download are there; it is called from Download's own goroutine. It may be nil.
	Progress func(done, total int64)

	pause, stall time.Duration // for tests; 0 = the defaults below
}

const (
	defaultPause = time.Second      // before the second attempt at a file; longer before each one that follows
	defaultStall = 60 * time.Second // without a byte before a connection counts as dead
)

// Environment returns the endpoint and token that the user has set for the Hub's own tools: HF_ENDPOINT; HF_TOKEN or the file that "hf auth login" writes;
// HF_HUB_OFFLINE.
func Environment() (Options, error) {
	o := Options{Endpoint: os.Getenv("HF_ENDPOINT"), Offline: isTrue(os.Getenv("HF_HUB_OFFLINE")) || isTrue(os.Getenv("TRANSFORMERS_OFFLINE"))}
	for _, name := range []string{"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"} {
		if o.Token = strings.TrimSpace(os.Getenv(name)); o.Token != "" {
			return o, nil
		}
	}
	path := tokenPath()
	token, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return o, fmt.Errorf("token: %w", err)
	}
	o.Token = strings.TrimSpace(string(token))
	if strings.ContainsAny(o.Token, "\r\n") {
		return o, fmt.Errorf("token: %s holds more than one line", path)
	}
	return o, nil
}

// isTrue reads a switch as huggingface_hub does.
func isTrue(s string) bool {
	return slices.Contains([]string{"1", "on", "yes", "true"}, strings.ToLower(strings.TrimSpace(s)))
}

func tokenPath() string {
	if path := os.Getenv("HF_TOKEN_PATH"); path != "" {
		return path
	}
	if dir := os.Getenv("HF_HOME"); dir != "" {
		return filepath.Join(dir, "token")
	}
	cache := os.Getenv("XDG_CACHE_HOME")
	if cache == "" {
		home, _ := os.UserHomeDir()
		cache = filepath.Join(home, ".cache")
	}
	return filepath.Join(cache, "huggingface", "token")
}

// idPattern follows validate_repo_id of huggingface_hub.
var idPattern = regexp.MustCompile(`^([A-Za-z0-9][A-Za-z0-9._-]*/)?[A-Za-z0-9][A-Za-z0-9._-]*$`)

const maxID = 96

func checkNames(id, revision string) error {
	if len(id) > maxID || !idPattern.MatchString(id) || strings.Contains(id, "..") || strings.Contains(id, "--") {
		return fmt.Errorf("%w: %.120q: want an id such as sentence-transformers/all-MiniLM-L6-v2", ErrName, id)
	}
	if !safePath(revision) {
		return fmt.Errorf("%w: revision %.120q: want a branch, a tag or a commit", ErrName, revision)
	}
	return nil
}

// Download gets a model and returns the folder of its snapshot. What is in the cache already is not downloaded again. ctx ends it; a later call, of this process or
// another, goes on where it ended.
func Download(ctx context.Context, id string, o Options) (string, error) {
	dir, err := download(ctx, id, o)
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return "", fmt.Errorf("download %s: %w", id, err)
	}
	return dir, nil
}

func download(ctx context.Context, id string, o Options) (string, error) {
	if o.Revision == "" {
		o.Revision = "main"
	}
	if err := checkNames(id, o.Revision); err != nil {
		return "", err
	}
	if o.Offline {
		return inCache(id, o)
	}
	c, err := newClient(o)
	if err != nil {
		return "", err
	}
	sha, listed, err := c.list(ctx, id, o.Revision)
	if err != nil {
		return "", err
	}
	cache, err := openRepo(o.CacheDir, id)
	if err != nil {
		return "", err
	}
	get := func(f file, progress func(int64)) error {
		if cache.has(f) {
			return nil
		}
		source := c.endpoint.JoinPath(append(append(strings.Split(id, "/"), "resolve", sha), escaped(f.name)...)...)
		return cache.store(f, func(out *os.File) error { return c.fetch(ctx, source, f, out, progress) })
	}
	s := selection{id: id, listed: make(map[string]file, len(listed)), read: func(f file) ([]byte, error) {
		if f.size > maxList {
			return nil, fmt.Errorf("%w: want at most %d bytes, the Hub lists %d", ErrUnsupported, maxList, f.size)
		}
		if err := get(f, func(int64) {}); err != nil {
			return nil, err
		}
		return os.ReadFile(cache.blob(f))
	}}
	for _, f := range listed {
		s.listed[f.name] = f
	}
	files, err := s.files(listed)
	if err != nil {
		return "", err
	}
	if err := getAll(files, cache, get, o.Progress); err != nil {
		return "", err
	}
	return cache.publish(sha, o.Revision, files)
}

// inCache is a Download without a connection.
func inCache(id string, o Options) (string, error) {
	cache, err := newRepo(o.CacheDir, id)
	if err != nil {
		return "", err
	}
	if dir := cache.snapshot(o.Revision); dir != "" {
		return dir, nil
	}
	return "", fmt.Errorf("%w: HF_HUB_OFFLINE is set, and %s holds no revision %s of the model", ErrOffline, o.CacheDir, o.Revision)
}

// getAll downloads what is missing and reports progress over all of it.
func getAll(files []file, cache repo, get func(file, func(int64)) error, progress func(done, total int64)) error {
	var done, total int64
	counted := map[string]bool{} // files with the same contents are one blob
	for _, f := range files {
		if !cache.has(f) && !counted[f.etag] {
			counted[f.etag] = true
			total += f.size
		}
	}
	report := func(n int64) {
		done += n
		if progress != nil {
			progress(done, total)
		}
	}
	for _, f := range files {
		if err := get(f, report); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
	}
	return nil
}

func escaped(name string) []string {
	parts := strings.Split(name, "/")
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	return parts
}

func newClient(o Options) (*client, error) {
	endpoint := o.Endpoint
	if endpoint == "" {
		endpoint = DefaultEndpoint
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, fmt.Errorf("%w: endpoint %q (HF_ENDPOINT): want a URL such as %s", ErrName, endpoint, DefaultEndpoint)
	}
	c := &client{endpoint: u, token: o.Token != "", pause: o.pause, stall: o.stall}
	if c.pause == 0 {
		c.pause = defaultPause
	}
	if c.stall == 0 {
		c.stall = defaultStall
	}
	c.http = &http.Client{Transport: auth{next: http.DefaultTransport, endpoint: u, token: o.Token}}
	return c, nil
}
