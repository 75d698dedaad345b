// Package chromium tests the page in headless Chromium, on a server with a real model.
package chromium

import (
	"context"
	"fmt"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vkbert/vkbert"
	"github.com/vkbert/vkbert/server"
	vkbertpage "github.com/vkbert/vkbert/server/page"
)

// patience is for what the page does by itself or after a click.
const patience = 30 * time.Second

// executable is Chromium by one of its names.
func executable(t *testing.T) string {
	t.Helper()
	for _, name := range []string{os.Getenv("VKBERT_CHROMIUM"), "chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Getenv("VKBERT_REQUIRE_ALL") == "1" {
		t.Fatal("VKBERT_REQUIRE_ALL=1, but there is no Chromium")
	}
	t.Skip("there is no Chromium; make test-page installs it")
	return ""
}

// site is a server with models, and what a browser did there.
type site struct {
	*httptest.Server
	ctx context.Context // of a tab

	mutex    sync.Mutex
	problems []string // of the console, and requests that left the host
	requests int
}

// hub puts a model into a Hugging Face cache, so that the page shows its id and not where it lies here.
func hub(t *testing.T, id, dir string) string {
	t.Helper()
	const revision = "0000000000000000000000000000000000000001"
	cache := os.Getenv("HF_HUB_CACHE")
	if !strings.HasPrefix(cache, os.TempDir()) {
		cache = t.TempDir()
		t.Setenv("HF_HUB_CACHE", cache)
	}
	repo := filepath.Join(cache, "models--"+strings.ReplaceAll(id, "/", "--"))
	require.NoError(t, os.MkdirAll(filepath.Join(repo, "refs"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(repo, "refs", "main"), []byte(revision), 0o600))
	require.NoError(t, os.CopyFS(filepath.Join(repo, "snapshots", revision), os.DirFS(dir)))
	return id
}

// open starts a server, and a browser that has its page open.
func open(t *testing.T, o server.Options, width, height int64, dark bool) *site {
	t.Helper()
	path := executable(t)
	dir := os.Getenv("VKBERT_MODEL_DIR")
	require.NotEmpty(t, dir, "VKBERT_MODEL_DIR has to name a folder with all-MiniLM-L6-v2")
	cpu := []vkbert.Option{vkbert.WithDevice("cpu")}
	o.Page, o.Version = vkbertpage.Handler(), "v0.1.0"
	s, err := server.New([]server.Model{
		{Name: "minilm", Path: hub(t, "sentence-transformers/all-MiniLM-L6-v2", dir), Options: cpu},
		{Name: "reranker", Path: hub(t, "vkbert/tiny-reranker", "../../../testdata/arch/cross_bert"), Options: cpu},
	}, o)
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	require.NoError(t, s.Load(t.Context()))
	v := &site{Server: httptest.NewServer(s)}
	t.Cleanup(v.Close)

	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.Flag("no-proxy-server", true))
	alloc, stop := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(stop)
	tab, stop := chromedp.NewContext(alloc)
	t.Cleanup(stop)
	ctx, stop := context.WithTimeout(tab, 2*time.Minute)
	t.Cleanup(stop)
	v.ctx = ctx
	host := strings.TrimPrefix(v.URL, "http://")
	chromedp.ListenTarget(ctx, func(event any) {
		switch e := event.(type) {
		case *runtime.EventExceptionThrown:
			v.problem("exception: %s", e.ExceptionDetails.Error())
		case *runtime.EventConsoleAPICalled:
			v.problem("console.%s %s", e.Type, e.Args[0].Value)
		case *log.EventEntryAdded:
			v.problem("%s: %s %s", e.Entry.Level, e.Entry.Text, e.Entry.URL)
		case *network.EventRequestWillBeSent:
			if u, err := url.Parse(e.Request.URL); err != nil || u.Host != host {
				v.problem("request to %s", e.Request.URL)
			}
			v.mutex.Lock()
			v.requests++
			v.mutex.Unlock()
		}
	})
	scheme := "light"
	if dark {
		scheme = "dark"
	}
	v.run(t, log.Enable(), network.Enable(), emulation.SetDeviceMetricsOverride(width, height, 1, width < 500),
		emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}),
		chromedp.Navigate(v.URL))
	return v
}

func (v *site) problem(format string, args ...any) {
	v.mutex.Lock()
	defer v.mutex.Unlock()
	v.problems = append(v.problems, fmt.Sprintf(format, args...))
}

func (v *site) run(t *testing.T, actions ...chromedp.Action) {
	t.Helper()
	require.NoError(t, chromedp.Run(v.ctx, actions...))
}

// eval returns the value of a JavaScript expression.
func eval[T any](t *testing.T, v *site, expression string) T {
	t.Helper()
	var value T
	v.run(t, chromedp.Evaluate(expression, &value))
	return value
}

// until waits until an expression is true.
func (v *site) until(t *testing.T, expression string) {
	t.Helper()
	require.Eventually(t, func() bool { return eval[bool](t, v, "!!("+expression+")") }, patience, 50*time.Millisecond, expression)
}

// clean checks that there was no word on the console and no request to elsewhere.
func (v *site) clean(t *testing.T) {
	t.Helper()
	v.mutex.Lock()
	defer v.mutex.Unlock()
	assert.Empty(t, v.problems)
	assert.Greater(t, v.requests, 7, "requests are watched")
}

// screenshot writes a picture where VKBERT_SCREENSHOTS says.
func (v *site) screenshot(t *testing.T, name string) {
	t.Helper()
	dir := os.Getenv("VKBERT_SCREENSHOTS")
	if dir == "" {
		return
	}
	for i := range 30 { // for a load that can be seen
		v.run(t, chromedp.Click("#go"), chromedp.Sleep(time.Duration(100+i%7*90)*time.Millisecond))
	}
	var png []byte
	v.run(t, chromedp.Evaluate("document.activeElement.blur(); window.scrollTo(0, 0)", nil), chromedp.Sleep(300*time.Millisecond), chromedp.FullScreenshot(&png, 100))
	require.NoError(t, os.WriteFile(filepath.Join(dir, name+".png"), png, 0o600))
}

func (v *site) compare(t *testing.T) {
	t.Helper()
	v.until(t, "!document.getElementById('go').disabled")
	v.run(t, chromedp.Click("#go"))
	v.until(t, "document.querySelectorAll('.heat td[data-at]').length > 0")
}

// The page at both widths, in both colours: what is loaded, the load, the playground by mouse and by keyboard.
func TestPage(t *testing.T) {
	for _, c := range []struct {
		name          string
		width, height int64
		dark          bool
	}{{"desktop-light", 1280, 900, false}, {"phone-dark", 390, 844, true}, {"desktop-dark", 1280, 900, true}, {"phone-light", 390, 844, false}} {
		t.Run(c.name, func(t *testing.T) {
			v := open(t, server.Options{}, c.width, c.height, c.dark)
			v.until(t, "document.getElementById('state').textContent === 'ready'")
			assert.Equal(t, 2, eval[int](t, v, "document.querySelectorAll('.model').length"))
			assert.Contains(t, eval[string](t, v, "document.getElementById('models').innerText"), "384")
			assert.Equal(t, "v0.1.0", eval[string](t, v, "document.getElementById('version').textContent"))

			v.compare(t)
			assert.Equal(t, 64, eval[int](t, v, "document.querySelectorAll('.heat td[data-at]').length"))
			assert.Equal(t, 8, eval[int](t, v, "document.querySelectorAll('.point').length"))
			assert.Contains(t, eval[string](t, v, "document.getElementById('near').innerText.split('\\n')[1] ?? ''"), "paper bag", "bread is near bread")
			assert.Contains(t, eval[string](t, v, "document.getElementById('figures').innerText"), "ms")
			self := eval[string](t, v, "document.querySelector('.heat td[data-at=\"3,3\"]').getAttribute('aria-label')")
			assert.Equal(t, "4 and 4: 1.000", self)

			background := eval[string](t, v, "getComputedStyle(document.body).backgroundColor")
			assert.Equal(t, c.dark, background == "rgb(13, 18, 20)", background)
			assert.LessOrEqual(t, eval[int](t, v, "document.documentElement.scrollWidth"), int(c.width), "nothing sticks out")
			v.until(t, "/[1-9]/.test(document.querySelectorAll('.tile .more')[1].textContent)") // the load shows the request
			v.screenshot(t, "page-"+c.name)
			v.clean(t)
		})
	}
}

// Everything can be reached and used with the keyboard, and is seen to be.
func TestKeyboard(t *testing.T) {
	v := open(t, server.Options{}, 1280, 900, false)
	v.until(t, "!document.getElementById('go').disabled")
	active := func() string {
		return eval[string](t, v, "document.activeElement.id || document.activeElement.dataset.at || document.activeElement.getAttribute('class') || document.activeElement.tagName")
	}
	tab := func() string {
		v.run(t, chromedp.KeyEvent(kb.Tab))
		return active()
	}
	var order []string
	for range 5 {
		order = append(order, tab())
	}
	assert.Equal(t, []string{"skip", "theme", "model", "texts", "go"}, order)
	assert.Equal(t, "solid", eval[string](t, v, "getComputedStyle(document.activeElement).outlineStyle"))

	v.run(t, chromedp.SetValue("#texts", "a cat\na dog\nthe stock market"), chromedp.Focus("#texts"), chromedp.KeyEvent(kb.Enter, chromedp.KeyModifiers(2)))
	v.until(t, "document.querySelectorAll('.heat td[data-at]').length === 9")
	tab()
	assert.Equal(t, "0,0", tab(), "the table is one stop")
	v.run(t, chromedp.KeyEvent(kb.ArrowRight), chromedp.KeyEvent(kb.ArrowDown), chromedp.KeyEvent(kb.ArrowDown), chromedp.KeyEvent(kb.ArrowDown))
	assert.Equal(t, "2,1", active(), "and ends at its edge")
	assert.Contains(t, eval[string](t, v, "document.getElementById('readout').textContent"), "between 3 “the stock market” and 2 “a dog”")
	assert.Contains(t, tab(), "point")
	v.run(t, chromedp.KeyEvent(kb.ArrowRight))
	assert.Equal(t, "1  a cat", eval[string](t, v, "document.getElementById('readout').textContent"))
	assert.Contains(t, eval[string](t, v, "document.getElementById('near').innerText"), "a dog")

	v.run(t, chromedp.Focus("#theme"), chromedp.KeyEvent(" "), chromedp.KeyEvent(" "))
	assert.Equal(t, "rgb(13, 18, 20)", eval[string](t, v, "getComputedStyle(document.body).backgroundColor"), "dark was chosen")
	v.clean(t)
}

// What a reranker, wrong input, markup in texts and a failing server look like.
func TestPlayground(t *testing.T) {
	v := open(t, server.Options{MaxInputs: 10}, 1280, 900, false)
	v.until(t, "!document.getElementById('go').disabled")
	outcome := func() string { return eval[string](t, v, "document.getElementById('outcome').textContent") }
	v.run(t, chromedp.SetValue("#texts", "one"), chromedp.Click("#go"))
	assert.Contains(t, outcome(), "at least two")
	v.run(t, chromedp.SetValue("#texts", strings.Repeat("a\n", 65)), chromedp.Click("#go"))
	assert.Contains(t, outcome(), "up to 64")
	v.clean(t)

	v.run(t, chromedp.SetValue("#texts", "<img src=x onerror=alert(1)>\n<b>bold</b>\nsame\nsame"), chromedp.Click("#go"))
	v.until(t, "document.querySelectorAll('.heat td[data-at]').length === 16")
	assert.Equal(t, 0, eval[int](t, v, "document.querySelectorAll('main b, main img').length"))
	assert.Equal(t, "1.000", eval[string](t, v, "document.querySelector('.heat td[data-at=\"2,3\"]').getAttribute('aria-label').slice(-5)"))
	v.clean(t)

	v.run(t, chromedp.SetValue("#model", "reranker"), chromedp.Evaluate("document.getElementById('model').dispatchEvent(new Event('change'))", nil))
	assert.Equal(t, "Rank", eval[string](t, v, "document.getElementById('go').textContent"))
	v.run(t, chromedp.Click("#go"))
	v.until(t, "document.querySelectorAll('#near li').length === 3 && document.getElementById('heat-card').hidden")
	v.clean(t)

	v.run(t, chromedp.SetValue("#texts", strings.Repeat("a\n", 40)), chromedp.Click("#go")) // more than the server takes: the browser writes that on the console
	v.until(t, "document.getElementById('outcome').classList.contains('bad') && !document.getElementById('go').disabled")
	assert.Contains(t, outcome(), "It failed: ")
	v.Server.CloseClientConnections()
	v.Server.Close()
	v.until(t, "document.getElementById('state').textContent === 'no answer'")
}

func TestKey(t *testing.T) {
	v := open(t, server.Options{APIKeys: []string{"open sesame"}}, 390, 844, false)
	v.until(t, "document.getElementById('ask').open")
	v.run(t, chromedp.SendKeys("#secret", "wrong"+kb.Enter))
	v.until(t, "document.getElementById('ask').open")
	v.run(t, chromedp.SendKeys("#secret", "open sesame"+kb.Enter))
	v.until(t, "document.getElementById('state').textContent === 'ready'")
	v.compare(t)
}
