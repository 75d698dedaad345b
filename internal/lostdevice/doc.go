// Package lostdevice lets tests lose a Vulkan device under a running program. A program that imports it has every submission to a device pass through here.
package lostdevice
