package bert

import (
	"context"
	"fmt"
	"strings"

	"github.com/vkbert/vkbert/cgo"
	"github.com/vkbert/vkbert/loader"
)

// selectors are the devices that a device option names: one, several with commas between them, or with "vulkan:all" every usable GPU.
func selectors(option string, devices func() ([]cgo.DeviceInfo, error)) ([]string, error) {
	var names []string
	for _, name := range strings.Split(option, ",") {
		if name = strings.TrimSpace(name); name != "vulkan:all" {
			names = append(names, name)
			continue
		}
		all, err := devices()
		if err != nil {
			return nil, err
		}
		found := false
		for _, d := range all {
			if d.Usable && d.Kind <= cgo.Virtual {
				names = append(names, d.Selector)
				found = true
			}
		}
		if !found {
			return nil, &cgo.Error{Status: cgo.NoDevice, Message: "device vulkan:all: there is no GPU that can be used"}
		}
	}
	for i, name := range names {
		for _, other := range names[:i] {
			if name == other {
				return nil, fmt.Errorf("%w: device %q is named twice in %q", loader.ErrUnsupported, name, option)
			}
		}
	}
	return names, nil
}

// openSites puts the model on each of the devices. The first of them decides what "auto" is.
func (p *planned) openSites(ctx context.Context, o Options) ([]*site, []*board, error) {
	names, err := selectors(o.Device, func() ([]cgo.DeviceInfo, error) { return cgo.Devices(o.CacheDir) })
	if err != nil {
		return nil, nil, err
	}
	warn := func(message string) {
		if o.Log != nil {
			o.Log(cgo.Warning, message)
		}
	}
	var sites []*site
	var boards []*board
	for _, name := range names {
		b, err := p.openBoard(ctx, name, o)
		if err != nil {
			for _, s := range sites {
				s.close()
			}
			return nil, nil, err
		}
		boards = append(boards, b)
		sites = append(sites, newSite(b, func() (machine, error) { return p.reopenBoard(name, o) }, warn))
	}
	return sites, boards, nil
}
