package server

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/vkbert/vkbert"
)

// Ollama's interface: https://github.com/ollama/ollama/blob/main/docs/api.md.

// ollamaAPI is the version of Ollama whose interface this is.
const ollamaAPI = "0.12.0"

// keepAlive is how long a model is to stay loaded: seconds, or "5m"; negative is for ever.
type keepAlive struct{ d *time.Duration }

// UnmarshalJSON takes both forms.
func (k *keepAlive) UnmarshalJSON(data []byte) error {
	var d time.Duration
	switch {
	case string(data) == "null":
		return nil
	case data[0] == '"':
		var s string
		if err := json.Unmarshal(data, &s); err != nil {
			return err
		}
		var err error
		if d, err = time.ParseDuration(s); err != nil {
			seconds, err := strconv.ParseInt(s, 10, 32)
			if err != nil {
				return failf(invalid, "keep_alive", "`keep_alive`: want seconds or a duration such as \"5m\"")
			}
			d = time.Duration(seconds) * time.Second
		}
	default:
		var seconds float64
		if json.Unmarshal(data, &seconds) != nil {
			return failf(invalid, "keep_alive", "`keep_alive`: want seconds or a duration such as \"5m\"")
		}
		if seconds = seconds * float64(time.Second); seconds > math.MaxInt64/2 {
			seconds = -1
		}
		d = time.Duration(seconds)
	}
	if d < 0 {
		d = forever
	}
	k.d = &d
	return nil
}

// ollamaRequest is what requests for a model have in common.
type ollamaRequest struct {
	Model     string    `json:"model"`
	KeepAlive keepAlive `json:"keep_alive"`
}

func (c *call) ollamaEmbed() error {
	var q struct {
		ollamaRequest
		Input      texts           `json:"input"`
		Truncate   *bool           `json:"truncate"`
		Dimensions count           `json:"dimensions"`
		Options    json.RawMessage `json:"options"` // of generation; there is nothing in them for embeddings
	}
	if err := c.body(&q); err != nil {
		return err
	}
	u, err := c.ollamaUse(q.ollamaRequest)
	if err != nil {
		return err
	}
	defer u.finish()
	list := q.Input.list
	if q.Input.single && list[0] == "" {
		list = nil // nothing to embed: the model is loaded, or unloaded
	}
	vectors := [][]float32{}
	if len(list) > 0 {
		cut := c.cutByDefault()
		if q.Truncate != nil && !*q.Truncate {
			cut = vkbert.TruncateNone
		} else if q.Truncate != nil {
			cut = vkbert.TruncateEnd
		}
		if vectors, err = u.vectors(input{texts: list}, wish{cut: cut, dimensions: q.Dimensions, normalize: true}); err != nil {
			return err
		}
	}
	o := c.output().raw(`{"model":`).value(q.Model).raw(`,"embeddings":`).vectors(vectors)
	return o.raw(`,"total_duration":`).int(int(time.Since(c.start))).raw(`,"load_duration":`).int(int(u.loading)).raw(`,"prompt_eval_count":`).int(c.tokens).raw("}\n").end()
}

// ollamaUse is use for a request with keep_alive.
func (c *call) ollamaUse(q ollamaRequest) (*use, error) {
	if q.Model == "" {
		return nil, failf(invalid, "model", "model is required")
	}
	u, err := c.use(q.Model)
	if err != nil {
		return nil, err
	}
	u.keep = q.KeepAlive.d
	return u, nil
}

func (c *call) ollamaEmbeddings() error {
	var q struct {
		ollamaRequest
		Prompt string `json:"prompt"`
	}
	if err := c.body(&q); err != nil {
		return err
	}
	u, err := c.ollamaUse(q.ollamaRequest)
	if err != nil {
		return err
	}
	defer u.finish()
	vectors := [][]float32{{}}
	if q.Prompt != "" {
		if vectors, err = u.vectors(input{texts: []string{q.Prompt}}, wish{cut: c.cutByDefault(), normalize: true}); err != nil {
			return err
		}
	}
	return c.output().raw(`{"embedding":`).vector(vectors[0]).raw("}\n").end()
}

// ollamaGenerate loads or unloads a model, which is what an empty prompt asks for. There is nothing else that it could do.
func (c *call) ollamaGenerate() error {
	var q struct {
		ollamaRequest
		Prompt string `json:"prompt"`
	}
	if err := c.body(&q); err != nil {
		return err
	}
	if q.Prompt != "" {
		return c.cannot(q.Model, "generate")
	}
	u, err := c.ollamaUse(q.ollamaRequest)
	if err != nil {
		return err
	}
	defer u.finish()
	reason := "load"
	if u.keep != nil && *u.keep == 0 {
		reason = "unload"
	}
	return c.reply(struct {
		Model    string    `json:"model"`
		Created  time.Time `json:"created_at"`
		Response string    `json:"response"`
		Done     bool      `json:"done"`
		Reason   string    `json:"done_reason"`
	}{q.Model, time.Now().UTC(), "", true, reason})
}

func (c *call) ollamaChat() error {
	var q ollamaRequest
	if err := c.body(&q); err != nil {
		return err
	}
	return c.cannot(q.Model, "chat")
}

func (c *call) cannot(model, what string) error {
	if _, err := c.find(model); err != nil {
		return err
	}
	return failf(incapable, "model", "%.200q does not support %s", model, what)
}

// details are what the files of a model say, read when somebody asks.
type details struct {
	bytes    int64
	modified time.Time
	digest   string
	family   string
	count    int64 // parameters
	stored   string
	licence  string
}

// detailsOf reads them once.
func (m *served) detailsOf() details {
	m.about.Do(func() {
		found, err := vkbert.Inspect(m.Path)
		if err != nil && found.Dir == "" {
			m.server.log.Warn("reading a model's files", "model", m.Name, "error", err)
			return
		}
		m.family, m.stored, m.licence = cmp.Or(found.ModelType, "static"), string(found.DType), found.Licence
		if size := map[string]int64{"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I8": 1}[m.stored]; size > 0 {
			m.count = found.Bytes / size
		}
		m.fingerprint(found.Dir)
	})
	return m.details
}

// fingerprint is a digest of the folder's files: small ones whole, large ones by their size, time and beginning, because weights take long to read.
func (m *served) fingerprint(dir string) {
	const whole = 1 << 20
	sum := sha256.New()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := os.Stat(path) // of what a link of the cache leads to
		if err != nil || !info.Mode().IsRegular() {
			return err
		}
		m.bytes += info.Size()
		if info.ModTime().After(m.modified) {
			m.modified = info.ModTime()
		}
		name, _ := filepath.Rel(dir, path)
		fmt.Fprintf(sum, "%s\x00%d\x00", name, info.Size())
		if info.Size() > whole {
			fmt.Fprintf(sum, "%d\x00", info.ModTime().UnixNano())
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.Copy(sum, io.LimitReader(f, whole))
		return err
	})
	if err != nil {
		m.server.log.Warn("reading a model's files", "model", m.Name, "error", err)
	}
	m.digest = hex.EncodeToString(sum.Sum(nil))
}

type ollamaDetails struct {
	Parent       string   `json:"parent_model"`
	Format       string   `json:"format"`
	Family       string   `json:"family"`
	Families     []string `json:"families"`
	Size         string   `json:"parameter_size"`
	Quantization string   `json:"quantization_level"`
}

func (d details) ollama() ollamaDetails {
	return ollamaDetails{"", "safetensors", d.family, []string{d.family}, parameters(d.count), d.stored}
}

// parameters are a number as Ollama writes it.
func parameters(n int64) string {
	switch {
	case n >= 1e9:
		return fmt.Sprintf("%.1fB", float64(n)/1e9)
	case n >= 1e6:
		return fmt.Sprintf("%.2fM", float64(n)/1e6)
	}
	return fmt.Sprintf("%.2fK", float64(n)/1e3)
}

type ollamaModel struct {
	Name     string        `json:"name"`
	Model    string        `json:"model"`
	Modified *time.Time    `json:"modified_at,omitempty"`
	Size     int64         `json:"size"`
	Digest   string        `json:"digest"`
	Details  ollamaDetails `json:"details"`
	Expires  *time.Time    `json:"expires_at,omitempty"`
	VRAM     *int64        `json:"size_vram,omitempty"`
	Context  int           `json:"context_length,omitempty"`
}

func (m *served) ollama() ollamaModel {
	d := m.detailsOf()
	name := m.ollamaName()
	return ollamaModel{Name: name, Model: name, Modified: &d.modified, Size: d.bytes, Digest: d.digest, Details: d.ollama()}
}

// ollamaName has a tag, as all names have there.
func (m *served) ollamaName() string {
	if strings.Contains(m.Name[strings.LastIndexByte(m.Name, '/')+1:], ":") {
		return m.Name
	}
	return m.Name + ":latest"
}

type ollamaList struct {
	Models []ollamaModel `json:"models"`
}

func (c *call) ollamaTags() error {
	list := ollamaList{Models: []ollamaModel{}}
	for _, m := range c.models {
		list.Models = append(list.Models, m.ollama())
	}
	return c.reply(list)
}

// ollamaPs lists what is loaded.
func (c *call) ollamaPs() error {
	list := ollamaList{Models: []ollamaModel{}}
	for _, m := range c.models {
		e := m.look()
		if e == nil {
			continue
		}
		info := e.Info()
		one := m.ollama()
		one.Modified = nil
		one.Size = int64(info.WeightBytes + info.ArenaBytes + info.HostBytes)
		vram := int64(0)
		if onGPU(info) {
			vram = int64(info.WeightBytes + info.ArenaBytes)
		}
		expires := m.expiry().UTC()
		if expires.IsZero() { // never: as Ollama, a time that nobody lives to see
			expires = time.Now().UTC().Add(100 * 365 * 24 * time.Hour)
		}
		one.VRAM, one.Expires, one.Context = &vram, &expires, info.MaxTokens
		list.Models = append(list.Models, one)
	}
	return c.reply(list)
}

func (c *call) ollamaShow() error {
	var q struct {
		Model string `json:"model"`
		Name  string `json:"name"`
	}
	if err := decodeBody(c.w, c.r, 64<<10, c.options.MaxInputs, &q); err != nil {
		return err
	}
	name := cmp.Or(q.Model, q.Name)
	if name == "" {
		return failf(invalid, "model", "model is required")
	}
	m, err := c.find(name)
	if err != nil {
		return err
	}
	d := m.detailsOf()
	about := map[string]any{"general.architecture": d.family, "general.parameter_count": d.count, "general.file_type": d.stored}
	if e := m.look(); e != nil {
		info := e.Info()
		about[d.family+".embedding_length"], about[d.family+".context_length"] = e.dimensions(), info.MaxTokens
		about[d.family+".block_count"], about[d.family+".attention.head_count"], about[d.family+".vocab_size"] = info.Layers, info.Heads, info.Vocabulary
	}
	m.mutex.Lock()
	capabilities := []string{}
	if m.kind == vkbert.KindEmbedding {
		capabilities = []string{"embedding"}
	}
	m.mutex.Unlock()
	return c.reply(struct {
		Licence      string         `json:"license,omitempty"`
		Modelfile    string         `json:"modelfile"`
		Parameters   string         `json:"parameters"`
		Template     string         `json:"template"`
		Details      ollamaDetails  `json:"details"`
		Info         map[string]any `json:"model_info"`
		Capabilities []string       `json:"capabilities"`
		Modified     time.Time      `json:"modified_at"`
	}{d.licence, "FROM " + m.Path + "\n", "", "{{ .Prompt }}", d.ollama(), about, capabilities, d.modified})
}

func (c *call) ollamaVersion() error {
	return c.reply(map[string]string{"version": ollamaAPI})
}

// workers is how many threads tokenize at once.
func workers() int { return runtime.GOMAXPROCS(0) }
