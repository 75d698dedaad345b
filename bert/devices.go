package bert

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/vkbert/vkbert/cgo"
)

// A sharedDevice is open as long as a model is on it: models of one process on one device share its compiled kernels, and the second opens without the driver's work.
type sharedDevice struct {
	*cgo.Device
	key   string
	users int

	logging sync.Mutex // over logs: a line can come while shared is held, for the core holds a mutex of its own then
	logs    map[*deviceUser]func(cgo.LogLevel, string)
}

// deviceUser is a model's hold on a device.
type deviceUser struct {
	*sharedDevice
	once sync.Once
}

var shared = struct {
	sync.Mutex
	devices map[string]*sharedDevice
}{devices: map[string]*sharedDevice{}}

// acquire opens a device, or takes one that is open with the same options. A device's log lines go to all who use it.
func acquire(o cgo.Options) (*deviceUser, error) {
	key := fmt.Sprintf("%s\x00%s\x00%d", o.Selector, o.CacheDir, o.Threads)
	shared.Lock()
	defer shared.Unlock()
	user := &deviceUser{sharedDevice: shared.devices[key]}
	if user.sharedDevice == nil {
		d := &sharedDevice{key: key, logs: map[*deviceUser]func(cgo.LogLevel, string){}}
		first := o.Log
		var opened atomic.Bool
		o.Log = func(level cgo.LogLevel, message string) {
			switch {
			case opened.Load():
				d.log(level, message)
			case first != nil: // d is not anybody's yet
				first(level, message)
			}
		}
		device, err := cgo.OpenDevice(o)
		opened.Store(true)
		if err != nil {
			return nil, err
		}
		d.Device, user.sharedDevice = device, d
		shared.devices[key] = d
		o.Log = first
	}
	user.users++
	if o.Log != nil {
		user.logging.Lock()
		user.logs[user] = o.Log
		user.logging.Unlock()
	}
	return user, nil
}

func (d *sharedDevice) log(level cgo.LogLevel, message string) {
	d.logging.Lock()
	logs := make([]func(cgo.LogLevel, string), 0, len(d.logs))
	for _, log := range d.logs {
		logs = append(logs, log)
	}
	d.logging.Unlock()
	for _, log := range logs {
		log(level, message)
	}
}

// abandon keeps a device that was lost from being shared with models that are opened from now on.
func (u *deviceUser) abandon() {
	shared.Lock()
	defer shared.Unlock()
	if shared.devices[u.key] == u.sharedDevice {
		delete(shared.devices, u.key)
	}
}

// Close gives the device back.
func (u *deviceUser) Close() {
	u.once.Do(func() {
		u.logging.Lock()
		delete(u.logs, u)
		u.logging.Unlock()
		shared.Lock()
		u.users--
		last := u.users == 0
		if last && shared.devices[u.key] == u.sharedDevice {
			delete(shared.devices, u.key)
		}
		shared.Unlock()
		if last {
			u.Device.Close()
		}
	})
}
