package main

import (
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/vkbert/vkbert"
)

// deviceReport is what devices prints of each.
type deviceReport struct {
	Selector             string          `json:"selector"` // for --device
	Name                 string          `json:"name"`
	Kind                 string          `json:"kind"`
	Usable               bool            `json:"usable"`
	Reason               string          `json:"reason,omitempty"` // why it is not
	Driver               string          `json:"driver,omitempty"`
	VulkanVersion        string          `json:"vulkan_version,omitempty"`
	VendorID             uint32          `json:"vendor_id,omitempty"`
	DeviceID             uint32          `json:"device_id,omitempty"`
	UUID                 string          `json:"uuid,omitempty"`
	MemoryBytes          uint64          `json:"memory_bytes,omitempty"`
	MemoryAvailable      uint64          `json:"memory_available_bytes,omitempty"`
	BufferRange          uint64          `json:"buffer_range_bytes,omitempty"`
	Threads              int             `json:"threads,omitempty"`
	Processors           int             `json:"processors,omitempty"`
	SubgroupSize         int             `json:"subgroup_size,omitempty"`
	SubgroupMin          int             `json:"subgroup_min,omitempty"`
	SubgroupMax          int             `json:"subgroup_max,omitempty"`
	WorkgroupInvocations int             `json:"workgroup_invocations,omitempty"`
	SharedMemoryBytes    int             `json:"shared_memory_bytes,omitempty"`
	Features             []string        `json:"features"`
	Variants             []variantReport `json:"variants,omitempty"`
}

// variantReport is what devices --variants prints of each kernel.
type variantReport struct {
	Op     string `json:"op,omitempty"`
	Name   string `json:"name"`
	State  string `json:"state"`
	Reason string `json:"reason,omitempty"` // why it does not run
}

// addVariants tests the kernels of a Vulkan device.
func (r *deviceReport) addVariants() error {
	if !r.Usable || !strings.HasPrefix(r.Selector, "vulkan:") {
		return nil
	}
	variants, err := vkbert.Variants(r.Selector)
	if err != nil {
		return fmt.Errorf("%s: %w", r.Selector, err)
	}
	for _, v := range variants {
		r.Variants = append(r.Variants, variantReport{Op: v.Op, Name: v.Name, State: v.State.String(), Reason: oneLine(v.Reason)})
	}
	return nil
}

func reportDevice(d vkbert.DeviceInfo) deviceReport {
	r := deviceReport{
		Selector: d.Selector, Name: d.Name, Kind: d.Kind.String(), Usable: d.Usable, Reason: oneLine(d.Reason), Driver: d.Driver,
		VulkanVersion: vulkanVersion(d.APIVersion), VendorID: d.VendorID, DeviceID: d.DeviceID, MemoryBytes: d.MemoryBytes, MemoryAvailable: d.MemoryAvailable,
		BufferRange: d.BufferRange, Threads: d.Threads, Processors: d.Processors, SubgroupSize: d.SubgroupSize, SubgroupMin: d.SubgroupMin,
		SubgroupMax: d.SubgroupMax, WorkgroupInvocations: d.WorkgroupInvocations, SharedMemoryBytes: d.SharedMemoryBytes, Features: d.Features.Names(),
	}
	if d.UUID != [16]byte{} {
		r.UUID = hex.EncodeToString(d.UUID[:])
	}
	return r
}

// vulkanVersion unpacks VK_MAKE_API_VERSION.
func vulkanVersion(v uint32) string {
	if v == 0 {
		return ""
	}
	return fmt.Sprintf("%d.%d.%d", v>>22&0x7f, v>>12&0x3ff, v&0xfff)
}

// lines tells a person about the device: its name, then what it is and can do, or why it cannot be used.
func (r deviceReport) lines() []string {
	what := []string{r.Kind}
	add := func(there bool, format string, args ...any) {
		if there {
			what = append(what, fmt.Sprintf(format, args...))
		}
	}
	add(r.VulkanVersion != "", "Vulkan %s", r.VulkanVersion)
	add(r.Driver != "", "%s", r.Driver)
	add(r.Threads > 0, "%d threads", r.Threads)
	add(r.MemoryBytes > 0, "%.1f GB memory", float64(r.MemoryBytes)/1e9)
	add(r.MemoryAvailable > 0, "%.1f GB of it free", float64(r.MemoryAvailable)/1e9)
	lines := []string{orNone(r.Name), strings.Join(what, ", ")}
	if len(r.Features) > 0 {
		lines = append(lines, strings.Join(r.Features, ", "))
	}
	if !r.Usable {
		lines = append(lines, "not usable: "+r.Reason)
	}
	for _, v := range r.Variants {
		line := fmt.Sprintf("%-8s %s", v.State, v.Name)
		if v.Reason != "" {
			line += ": " + v.Reason
		}
		lines = append(lines, line)
	}
	return lines
}

func printDevices(w io.Writer, devices []deviceReport) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, d := range devices {
		selector := d.Selector
		if selector == "" {
			selector = "-"
		}
		for i, line := range d.lines() {
			if i > 0 {
				selector = ""
			}
			fmt.Fprintf(table, "%s\t%s\n", selector, line)
		}
	}
	return table.Flush()
}

func devicesCommand() *cobra.Command {
	var asJSON, variants bool
	cmd := &cobra.Command{
		Use:   "devices",
		Short: "List the devices, what they can do, and why some cannot be used",
		Long: `List the devices, what they can do, and why some cannot be used.

To find out about a driver, VKBERT_VARIANTS forbids kernels by name or takes them before all others: "-linear matrix*,+linear split" (* is any text).`,
		Args: cobra.NoArgs,
	}
	cmd.RunE = run(func(cmd *cobra.Command, _ []string) error {
		devices, err := vkbert.Devices()
		if err != nil {
			return err
		}
		reports := []deviceReport{}
		for _, d := range devices {
			r := reportDevice(d)
			if variants {
				if err := r.addVariants(); err != nil {
					return err
				}
			}
			reports = append(reports, r)
		}
		if asJSON {
			return printJSON(cmd.OutOrStdout(), reports, true)
		}
		return printDevices(cmd.OutOrStdout(), reports)
	})
	cmd.Flags().BoolVar(&variants, "variants", false, "test every kernel on the Vulkan devices and say which of them run")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
